#!/bin/sh
# The splits that the twelve cells are trained and judged on, from fixed seeds; what is there already is kept.
set -eu
out=${OUT:-rendered}

world() {
    [ -d "$out/$1" ] || python -m worlds render "$1" --seed 0 --episodes "$2" --val-episodes "$3" --crf 26 --out "$out/$1"
}
mkdir -p "$out"
[ -d "$out/tabletop-heldout" ] || cp -r samples/tabletop-heldout "$out/"
world tabletop 3600 160
world rooms 2000 40
world street 1350 20
