# One image for every program; which one is the container's command, as manifests/ say. For amd64 and arm64:
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example/ambient-lite:0.1.0 .
#
# scripts/sbom.ts prints what is in it. test/image.test.ts starts every program from exactly the files copied here.
ARG NODE=24.21.0
FROM docker.io/library/node:${NODE}-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Node itself comes with the image; the packages that carry it are for machines without.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && rm -rf node_modules/node-linux-*

FROM docker.io/library/node:${NODE}-bookworm-slim
# node-agent writes rules with nft. npm and yarn have no business in here.
RUN apt-get update \
  && apt-get install -y --no-install-recommends nftables iproute2 \
  && rm -rf /var/lib/apt/lists/* /usr/local/lib/node_modules /opt/yarn* \
  && rm -f /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn*
WORKDIR /app
ENV NODE_ENV=production
COPY --from=packages /app/node_modules node_modules
COPY package.json LICENSE ./
COPY core core
COPY certs certs
COPY ztunnel ztunnel
COPY waypoint waypoint
COPY node-agent node-agent
COPY istiod-lite istiod-lite
COPY ratelimit ratelimit
COPY cli cli
COPY sandbox sandbox
COPY manifests manifests
# ztunnel and node-agent are given user 0 and what they need of it by their manifests.
USER 1337:1337
CMD ["node", "cli/main.ts", "--help"]
