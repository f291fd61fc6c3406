"""What server processes share: who holds what (as a hint), who is here, and the news. Ports, and what fills them."""
