"""The live session: a ProjectSession stream that comes back by itself.

* ``stream``        one gRPC call: one reader, one writer
* ``reader``        every message of a call, and how its server ended it
* ``reconnect``     whether and when to come back after it ended
* ``commands``      what was sent and not yet answered
* ``workspace``     the state of the project, kept up to date by the events
* ``subscription``  one reader of the events
* ``held_lock``     the locks of the session, over all its streams
* ``followed_runs`` how far it has seen the consoles it follows
* ``run_commands``  runs that it starts, feeds and finishes itself
* ``session``       what ties them together
"""
