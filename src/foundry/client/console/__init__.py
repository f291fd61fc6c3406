"""Consoles of runs: written and read over as many streams as it takes.

* ``comeback``  whether and when to go on after a stream broke
* ``lines``     text becomes lines of the size the contract allows
* ``backlog``   the lines that are not stored yet
* ``writer``    one producer of lines, over all its streams
* ``reader``    how far a console was read
* ``running``   a run for the length of a block
"""
