#!/bin/sh
# Does every view show what its own caption says? Views post-trained without any given frame too, for then nothing but captions
# tells: sh recipes/captions.sh DATA [BASE...], DATA with several cameras and a caption each. Reports go to OUT/BASE/report.
set -eu
data=$1
shift
out=${OUT:-demo/captions}
for base in ${@:-nano-diffusion nano-autoregressive}; do
    steps=120
    [ "$base" = nano-diffusion ] && steps=300
    cell=$out/$base
    worldtune prepare "$data" "$cell/cache" --base "$base" --task multiview --stride 8
    for seed in ${SEEDS:-0 1 2}; do
        worldtune train --task multiview --base "$base" --data "$cell/cache" --out "$cell/run-$seed" --steps "$steps" \
            --seed "$seed" --set objective.num_observed_min=0
        worldtune generate "$cell/run-$seed" --data "$cell/cache" --out "$cell/clips-$seed" --num-observed 0 \
            --num-clips 32 --seed "$seed"
    done
    worldtune evaluate "$cell"/clips-* --report "$cell/report"
done
