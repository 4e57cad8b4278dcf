#!/bin/sh
# Started in the machine as: inside.sh FOLDER PYTHON WORDS… runs PYTHON WORDS with the host's files as its root.
# The root that virtme-ng mounts asks the host about every path anew; Python then takes 2 s to start, here 1.
set -eu
folder=$1
shift
root=/run/root
mkdir -p $root /run/scratch
mount -t 9p -o ro,version=9p2000.L,trans=virtio,msize=512000,cache=loose hostroot $root
for kept in proc sys dev run; do
	mount --rbind /$kept $root/$kept
done
mount --bind "$folder" "$root$folder"
export TMPDIR=/run/scratch # all else is read-only
exec chroot $root env -C "$PWD" "$@"
