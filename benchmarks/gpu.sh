#!/usr/bin/env bash
# netslim on one GPU, from a bare machine to tables within nine minutes, without a network:
#
#     benchmarks/gpu.sh [--smoke] [--data FOLDER] [--output FOLDER]
#
# Needed: Python 3.11, torch 2.11 or newer with torchvision, safetensors, numpy, PyYAML, click and rich; netslim is run
# from its sources. FOLDER of --data holds CIFAR-10 as `python -m benchmarks.paper` takes it; without it there is no
# Table 1. Parts come in order of worth, each is ended after its time, and each row is on disk when it is known.
# --smoke tries the script on a CPU within a minute.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
smoke=0 data="" output=gpu-results
while [ $# -gt 0 ]; do
    case $1 in
        --smoke) smoke=1 ;;
        --data) data=$2; shift ;;
        --output) output=$2; shift ;;
        *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done

begun=$(date +%s)
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} NETSLIM_GPU_SMOKE=$smoke NETSLIM_GPU_OUTPUT=$output
export CUBLAS_WORKSPACE_CONFIG=:4096:8   # for the checks of determinism; cuBLAS reads it once
python=${PYTHON:-python3}
checks=110 speed=170 end=520   # seconds: two parts, and when the last row of the third is due
[ $smoke = 1 ] && checks=120 speed=60   # enough for a busy machine; on a quiet one, all takes a minute
[ $smoke = 1 ] && export OMP_NUM_THREADS=1

mkdir -p "$output"
rm -f "$output"/{start,checks,speed}.jsonl "$output"/table1-*.jsonl "$output"/{log.txt,tables.md}
commit=$(git rev-parse --short HEAD 2> /dev/null || echo unknown)
echo "{\"date\": \"$(date -u +%F)\", \"commit\": \"$commit\"}" > "$output/start.jsonl"
NETSLIM_GPU_WORK=$(mktemp -d)
export NETSLIM_GPU_WORK
trap 'rm -rf "$NETSLIM_GPU_WORK"' EXIT
left() { echo $((end - $(date +%s) + begun)); }
part() { timeout -k 5 "$@" 2>> "$output/log.txt" || echo "$4: exit code $?" | tee -a "$output/log.txt"; }

prepare=""
if [ -n "$data" ] && [ $smoke = 0 ]; then   # beside the checks: decoding 60,000 images takes a minute
    timeout 240 "$python" -c "import os, sys, pathlib; from benchmarks.paper.datasets import find; find('cifar10', \
pathlib.Path(sys.argv[1]), pathlib.Path(os.environ['NETSLIM_GPU_WORK']))" "$data" >> "$output/log.txt" 2>&1 &
    prepare=$!
fi
part $((checks + 15)) "$python" -m benchmarks.gpu.checks $checks
[ -n "$prepare" ] && wait "$prepare"
part $((speed + 15)) "$python" -m benchmarks.gpu.speed $speed
if [ -n "$data" ] || [ $smoke = 1 ]; then
    names="vgg19 densenet40 resnet164"
    [ $smoke = 1 ] && names=vgg19
    seconds=$(left)
    [ $smoke = 1 ] && seconds=20
    for name in $names; do   # side by side: no network fills the GPU alone
        part $((seconds + 15)) "$python" -m benchmarks.gpu.table1 "$name" "$seconds" "${data:-none}" &
    done
    wait
fi
"$python" -m benchmarks.gpu.summary "$output" | tee "$output/tables.md"
code=$?
echo "$(($(date +%s) - begun)) seconds; rows and tables are in $output"
exit $code
