"""The protobuf edge, the only place that knows gRPC: servicers, interceptors, error mapping, request validation."""
