"""Known defects, planted one at a time into a copy of the code, and the tests that must notice each.

``python -m tests.faults.defects`` plants them all. A test that has never been red says little.
"""
