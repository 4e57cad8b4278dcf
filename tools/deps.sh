#!/bin/sh
# Install what Debian packages the project needs and this machine lacks; `deps.sh vm`: what `make test-vm`
# needs besides. Looks at the things themselves, keeps no stamp: with all there it takes milliseconds.
set -eu

missing=""
need_command() { # package command...
	package=$1
	shift
	for name; do
		command -v "$name" >/dev/null 2>&1 || missing="$missing $package"
	done
}
need_file() { # package path-or-glob
	# shellcheck disable=SC2086 # the glob is wanted
	set -- "$1" $2
	[ -e "$2" ] || missing="$missing $1"
}

PATH="$PATH:/usr/sbin:/sbin"
triple="$(uname -m)-linux-gnu"
need_command clang-19 clang-19
need_command llvm-19 llvm-strip-19
need_command bpftool bpftool
need_command xdp-tools xdp-loader
need_command strace strace
need_command iproute2 ip
need_command ethtool ethtool
need_command procps ps
need_command git git
need_command util-linux nsenter
need_command mount mount umount
need_file libbpf-dev /usr/include/bpf/bpf_helpers.h
need_file linux-libc-dev /usr/include/linux/bpf.h
need_file libbpf1 "/usr/lib/$triple/libbpf.so.1"
need_file libelf1 "/usr/lib/$triple/libelf.so.1"
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"

if [ "${1:-}" = vm ]; then
	need_command qemu-system-x86 qemu-system-x86_64
	need_command busybox-static busybox
	need_command kmod depmod
	need_command file file
	need_command dpkg dpkg-deb
fi

[ -n "$missing" ] || exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root=sudo
mkdir -p build
log=build/apt.log
echo "installing Debian packages:$missing" >&2
# shellcheck disable=SC2086 # lists of words
{
	$as_root apt-get update -q &&
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
} >$log 2>&1 || {
	status=$?
	cat $log >&2
	exit $status
}
