#!/bin/sh
# The conditioned tasks on real clips, both families: sh recipes/real.sh DATA [TASK...]. Reports go to OUT/TASK-BASE/report.
# DATA/bridge (layout bridge), DATA/surround (surround-tiles), DATA/driving (videos; poses by structure from motion).
set -eu
data=$1
shift
out=${OUT:-demo/real}
bases=${BASES:-nano-diffusion nano-autoregressive}

dataset() {  # name, layout, further words of convert
    [ -d "$out/$1" ] || worldtune convert "$data/$1" "$out/$1" --layout "$2" $3
}

cell() {  # task, dataset, split to judge, words of prepare, words of train
    for base in $bases; do
        cell=$out/$1-$base
        # The nano transformer knows a hundred windows by heart after 200 steps, and is then worse than its base.
        quick="--steps 40 --set optim.lr=2e-3 --set objective.token_noise=0.5"
        [ "$base" = nano-diffusion ] && quick="--steps 300"
        worldtune prepare "$out/$2" "$cell/cache" --base "$base" --task "$1" $4
        worldtune train --task "$1" --base "$base" --data "$cell/cache" --out "$cell/run" $quick \
            --set loop.batch_size=8 --set sampler.guidance=0 $5
        worldtune generate "$cell/run" --data "$cell/cache" --out "$cell/clips" --num-clips 16 --split "$3"
        worldtune evaluate "$cell/clips" --report "$cell/report"
    done
}

mkdir -p "$out"
for task in ${@:-action instruction multiview camera}; do
    case $task in
        action) dataset bridge bridge ""
            cell action bridge val "--fps-hz 3 --stride 2" "--set control.action.reach=true" ;;
        instruction) dataset bridge bridge ""
            cell instruction bridge val "--fps-hz 3 --stride 2" "" ;;
        multiview) dataset surround surround-tiles --allow-missing-captions
            cell multiview surround train "--num-frames 9 --fps-hz 30" "--set loop.validate_every=0" ;;  # one clip: it is judged on what it was trained on
        camera) dataset driving videos --estimate-poses
            cell camera driving val "--stride 1" "--set control.camera.scale=clip" ;;
        *) echo "no real clips for the task $task" >&2; exit 1 ;;
    esac
done
