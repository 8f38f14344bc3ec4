#!/usr/bin/env bash
# The pipeline on a real Kubeflow Pipelines, in a cluster of its own: kind.sh PYTHON
#
# It makes a cluster with kind, installs KFP from its own manifests, loads the images, applies
# manifests/overlays/local, runs two passes, a canceled and a failing run, and compares the statuses in MLflow.
# It needs docker, kind, kubectl, openssl and the network. KEEP=1 leaves the cluster; KFP=2.17.1 takes another
# version. `make e2e-kind` and .github/workflows/kind.yml run it.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
kfp=${KFP:-2.17.0}
cluster=netslim-e2e
kubeflow="github.com/kubeflow/pipelines/manifests/kustomize"
work=$(mktemp -d)
forwards=()

end() {
    local status=$?
    for process in "${forwards[@]}"; do kill "$process" 2> /dev/null || true; done
    if [ "$status" != 0 ]; then
        kubectl get pods --namespace kubeflow || true
        kubectl get events --namespace kubeflow --sort-by=.lastTimestamp | tail -n 40 || true
    fi
    [ -n "${KEEP:-}" ] || kind delete cluster --name "$cluster"
    rm -rf "$work"
    exit "$status"
}
trap end EXIT

forward() { # SERVICE PORT: reach it at localhost
    kubectl port-forward --namespace kubeflow "service/$1" "$2" > "$work/$1.log" 2>&1 &
    forwards+=("$!")
    for _ in $(seq 60); do
        ! grep -q Forwarding "$work/$1.log" || return 0
        sleep 1
    done
    cat "$work/$1.log" >&2
    return 1
}

submit() { # NAME OPTIONS...: start a run, wait, keep its JSON; the exit code is that of the command
    local name=$1
    shift
    "$python" -m netslim submit --host http://localhost:8888 --tracking-uri http://localhost:5000 \
        --service-account netslim --profiles "$work/small.yaml" --gpus 0 --no-kfp-mlflow \
        --wait --json "$@" > "$work/$name.json"
}

echo "== a cluster with KFP $kfp"
kind create cluster --name "$cluster"
kubectl apply -k "$kubeflow/cluster-scoped-resources?ref=$kfp"
kubectl wait --for=condition=established --timeout=60s crd/applications.app.k8s.io
kubectl apply -k "$kubeflow/env/platform-agnostic?ref=$kfp"

echo "== the images"
"$python" images/build.py --variant cpu
for kind in data train export tracking; do
    kind load docker-image --name "$cluster" "$("$python" -c \
        "from netslim_kfp.components.images import image; print(image('$kind'))")"
done

echo "== manifests and secrets"
cp -r manifests/secrets "$work/secrets"
cp "$work/secrets/netslim.env.example" "$work/secrets/netslim.env"
echo "PGPASSWORD=$(openssl rand -hex 24)" > "$work/secrets/tracking.env"
kubectl apply --namespace kubeflow -k "$work/secrets"
kubectl apply -k manifests/overlays/local
kubectl wait --namespace kubeflow --for=condition=available --timeout=15m deployment --all
kubectl rollout status --namespace kubeflow --timeout=10m statefulset/netslim-postgres
forward ml-pipeline 8888
forward netslim-tracking 5000

cat > "$work/small.yaml" << 'YAML'
all: {cpu: 500m, memory: 2Gi, scratch: 2Gi}
train: {cpu: 500m, memory: 2Gi, shm: 256Mi, timeout: 30m}
YAML
"$python" -m netslim doctor --host http://localhost:8888 --namespace kubeflow --tracking-uri http://localhost:5000 \
    --start-images --profiles "$work/small.yaml" --gpus 0 --service-account netslim

echo "== two passes"
submit passes --passes 2 --base epochs=2 --sparse epochs=2 --tune epochs=2 --max-error-increase 100

echo "== a failing run: there is no such folder in the bucket"
code=0
submit failing --passes 1 --no-baseline --dataset folder --data-root s3://mlpipeline/missing || code=$?
[ "$code" = 9 ] || { echo "exit code $code, not 9" >&2; exit 1; }

echo "== a canceled run: Ctrl-C with --cancel, when its training has started"
set -m # a process group of its own, which does not ignore SIGINT as other background processes do
submit canceled --passes 1 --no-baseline --sparse epochs=3000 --cancel 2> "$work/canceled.log" &
waiting=$!
set +m
for _ in $(seq 180); do
    ! grep -q "train sparse .*started" "$work/canceled.log" || break
    sleep 5
done
kill -INT -- "-$waiting"
wait "$waiting" && { echo "the canceled run ended with exit code 0" >&2; exit 1; }
canceled=$(sed -n 's/^Run .*details\///p' "$work/canceled.log")

echo "== what MLflow has"
"$python" tests/e2e/kind_statuses.py http://localhost:5000 \
    "$("$python" -c "import json, sys; print(json.load(open(sys.argv[1]))['run'])" "$work/passes.json")=FINISHED" \
    "$("$python" -c "import json, sys; print(json.load(open(sys.argv[1]))['run'])" "$work/failing.json")=FAILED" \
    "$canceled=KILLED"
