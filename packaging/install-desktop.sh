#!/bin/sh
# Puts the desktop entry and the icon where desktops look for them: install-desktop.sh [PREFIX]
set -eu
here="$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)"
prefix="${1:-$HOME/.local}"
install -Dm644 "$here/columba.desktop" "$prefix/share/applications/columba.desktop"
install -Dm644 "$here/columba.svg" "$prefix/share/icons/hicolor/scalable/apps/columba.svg"
for size in 48 128 256; do
    install -Dm644 "$here/columba-$size.png" "$prefix/share/icons/hicolor/${size}x$size/apps/columba.png"
done
