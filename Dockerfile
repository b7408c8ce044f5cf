# Two stages, so that the image holds the program and not the toolchain.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN useradd --uid 1000 --create-home codetune
WORKDIR /home/codetune
COPY --from=build /src/target/release/codetune /usr/local/bin/codetune
COPY --chown=codetune plugins plugins
COPY --chown=codetune host/sample host/sample
USER codetune
ENV HOST=0.0.0.0 CODETUNE_DATA_DIR=/home/codetune/data
VOLUME /home/codetune/data
EXPOSE 7860
# Bound to all addresses the studio refuses to start without CODETUNE_PASSWORD.
CMD ["codetune", "serve"]
