# Build: the wheel, with `foundry` and the generated `coreason` in it.
FROM python:3.13-slim AS build
WORKDIR /build
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir dist .

# Run (give FOUNDRY_TOKEN_PUBLIC_KEY_FILE, FOUNDRY_TOKEN_ISSUER, FOUNDRY_TLS_CERT_FILE and FOUNDRY_TLS_KEY_FILE): the wheel and exactly the dependencies that were tested with it.
FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/foundry --shell /usr/sbin/nologin foundry \
    && install --directory --owner foundry --group foundry --mode 0750 /var/lib/foundry
RUN --mount=type=bind,from=build,source=/build,target=/build \
    pip install --no-cache-dir --constraint /build/constraints.txt /build/dist/*.whl
USER foundry
VOLUME /var/lib/foundry
EXPOSE 50051
# The health check must work beside TLS, whose certificate is for another name than this machine's.
ENV FOUNDRY_LOCAL_SOCKET=/var/lib/foundry/foundry.sock
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["foundry", "health", "--target", "unix:/var/lib/foundry/foundry.sock"]
ENTRYPOINT ["foundry"]
CMD ["serve", "--data-dir", "/var/lib/foundry", "--listen", "0.0.0.0:50051"]
