# syntax=docker/dockerfile:1
# Two stages: a build with the toolchain, and an image that holds one binary, certificates and no shell.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo .cargo
COPY benches benches
COPY tests tests
COPY src src
COPY proto proto
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin emac && cp target/release/emac /emac

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /emac /usr/local/bin/emac
EXPOSE 9099
USER nonroot
ENTRYPOINT ["/usr/local/bin/emac"]
CMD ["--help"]
