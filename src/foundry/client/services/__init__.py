"""The unary service clients. Each describes its methods once; see ``foundry.client.calls`` for how they are made."""
