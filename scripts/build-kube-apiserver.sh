#!/usr/bin/env bash
# Builds kube-apiserver from its Go module into a folder, for `npm run test:kube`, where Go is at hand:
#
#   scripts/build-kube-apiserver.sh .tmp/kube && apt-get install etcd-server
#   KUBEBUILDER_ASSETS=$PWD/.tmp/kube npm run test:kube
#
# Versions and checksums are pinned in scripts/kube-apiserver. The first build takes 15 to 30 minutes on two cores, later
# ones a minute: Go keeps what it has compiled. Anything else that has kube-apiserver and etcd in one folder serves as well.
set -euo pipefail
out=${1:?usage: build-kube-apiserver.sh FOLDER}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/kube-apiserver"
version=$(sed -n 's/^\tk8s.io\/kubernetes v//p' go.mod)
minor=${version#*.}
base=k8s.io/component-base/version
flags="-X $base.gitVersion=v$version -X $base.gitMajor=1 -X $base.gitMinor=${minor%%.*}"
# One package at a time: linking needs 3 GB as it is.
nice -n 19 go build -mod=readonly -p 1 -ldflags "$flags" -o "$out/kube-apiserver.part" .
mv "$out/kube-apiserver.part" "$out/kube-apiserver"
"$out/kube-apiserver" --version
