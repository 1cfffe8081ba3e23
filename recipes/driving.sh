#!/bin/sh
# The same commands on real dash-camera clips: sh recipes/driving.sh SRC (SRC/videos/*.mp4 + SRC/metas/*.txt).
set -eu
src=$1
out=${OUT:-demo/driving}

mkdir -p "$out"
worldtune convert "$src" "$out/dataset" --layout videos
worldtune check "$out/dataset" --task general
worldtune prepare "$out/dataset" "$out/cache" --base nano-diffusion --stride 1
for seed in 0 1 2; do
    worldtune train --task general --base nano-diffusion --data "$out/cache" --out "$out/run-$seed" --steps 200 --seed $seed
    worldtune generate "$out/run-$seed" --data "$out/cache" --out "$out/clips-$seed" --num-clips 4 --seed $seed
done
worldtune evaluate "$out/clips-0" "$out/clips-1" "$out/clips-2" --report "$out/report"
echo "open $out/report/report.html"
