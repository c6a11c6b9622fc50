#!/usr/bin/env bash
# Builds kubectl from its Go module into a folder, where no kubectl of 1.27 or newer is installed but Go is.
set -euo pipefail
out=${1:?usage: build-kubectl.sh FOLDER}
version=v0.33.4
work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"
cat >main.go <<'GO'
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	command := cmd.NewDefaultKubectlCommand()
	if err := cli.RunNoErrOutput(command); err != nil {
		util.CheckErr(err)
	}
}
GO
go mod init build-kubectl
go get "k8s.io/kubectl@$version" "k8s.io/component-base@$version"
go mod tidy
mkdir -p "$out"
minor=${version#v0.}
flags="-X k8s.io/component-base/version.gitVersion=v1.${minor} -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
go build -ldflags "$flags" -o "$out/kubectl" .
"$out/kubectl" version --client
