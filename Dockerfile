# docker build -t pawl .                       the binary alone: serve, migrate, every command but those that run programs
# docker build -t pawl:shell --target shell .  with a small Debian around it, for pawl consume

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    VERSION=$VERSION GOOS=$TARGETOS GOARCH=$TARGETARCH sh scripts/build.sh /pawl

FROM debian:bookworm-slim AS shell
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /pawl /usr/local/bin/pawl
USER 65532:65532
ENTRYPOINT ["pawl"]

# There is no shell here: the health check is pawl itself. Time zones are in the binary.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY LICENSE-APACHE LICENSE-MIT /
COPY --from=build /pawl /pawl
ENV PAWL_LISTEN=0.0.0.0:8484
USER 65532:65532
EXPOSE 8484
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["/pawl", "health"]
ENTRYPOINT ["/pawl"]
CMD ["serve"]
