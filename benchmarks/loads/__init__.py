"""What clients do: raw bytes and raw stubs, never the SDK, so that the client is not what is measured."""
