#!/bin/sh
# General post-training, start to report: the shipped base learns a look it has not seen, on three seeds.
set -eu
data=samples/tabletop-heldout
out=${OUT:-demo}
steps=${STEPS:-120}

worldtune check "$data" --task general
worldtune prepare "$data" "$out/cache" --base nano-diffusion
for seed in 0 1 2; do
    worldtune train --task general --base nano-diffusion --data "$out/cache" --out "$out/run-$seed" --steps "$steps" --seed $seed
    worldtune generate "$out/run-$seed" --data "$out/cache" --out "$out/clips-$seed" --num-clips 48 --seed $seed
done
worldtune evaluate "$out/clips-0" "$out/clips-1" "$out/clips-2" --report "$out/report"
echo "open $out/report/report.html"
