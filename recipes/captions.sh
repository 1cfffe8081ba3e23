#!/bin/sh
# Does every view follow its own caption? Clips of the multiview runs of `worldtune matrix --out MATRIX`, made without any given
# frame, and what a probe names in them: sh recipes/captions.sh MATRIX [BASE...]. Reports go to MATRIX/multiview-BASE/captions.
set -eu
matrix=$1
shift
for base in ${@:-nano-diffusion nano-autoregressive}; do
    cell=$matrix/multiview-$base
    for run in "$cell"/run-*; do
        seed=${run##*-}
        worldtune generate "$run" --data "$cell/cache" --out "$cell/captions-$seed" --num-observed 0 --num-clips 32 --seed "$seed"
    done
    worldtune evaluate "$cell"/captions-* --report "$cell/captions"
done
