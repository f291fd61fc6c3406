"""Foundry: the collaborative workspace where people in regulated companies build AI agents together.

The architecture in twenty lines:

* ``domain``        nouns and rules: frozen dataclasses, standard library only, no I/O and no clock
* ``content``       pure work on content: strict parsers, diff, canonical JSON, manifests
* ``store``         everything SQL: tables, the write lane, repositories, the FoundryLog, migrations
* ``coordination``  what server processes share: lock registry, presence registry, event bus
* ``managers``      verbs: permission, rule, transaction, log entry
* ``rpc``           the protobuf edge: servicers, interceptors, error mapping, request validation
* ``client``        the SDK: typed client, session with resume, lock as a context manager
* ``cli``           the command line, a gRPC client like any other
* ``app``           the composition root: opens things in order, closes them in reverse

Imports go one way: ``app -> rpc -> managers -> store | coordination | content -> domain``.

A write travels: servicer (translate) -> manager (parse content, hand an operation to the lane) -> the lane's
transaction (load the rows it needs, decide in plain Python, flush rows and log entries together, commit) ->
the event bus -> every session of the project, as an entry of the one log.
"""

__version__ = "0.1.0"
