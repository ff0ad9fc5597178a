# Spark: the same small job in cluster mode and in client mode, with a driver and executors in real containers.
#
# Names are not resolved inside the cluster, so drivers are found by address; the API is reached by address too.
version=4.3.0
dist=$cache/spark-$version
if [ ! -e "$dist/complete" ]; then
    rm -rf "$dist"
    mkdir -p "$dist"
    # Java, Python and a shell; and beside them what Spark's own package holds.
    mmdebstrap --quiet --variant=minbase --include=openjdk-17-jre-headless,python3,procps \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        bookworm "$dist/rootfs" >/dev/null || absent
    mkdir -p "$dist/rootfs/opt/spark/python"
    python3 -m pip --quiet --disable-pip-version-check download --no-deps --no-binary :all: --dest "$dist" \
        "pyspark==$version" || absent
    tar xzf "$dist/pyspark-$version.tar.gz" -C "$dist"
    for part in bin sbin jars data examples; do mv "$dist/pyspark-$version/deps/$part" "$dist/rootfs/opt/spark"; done
    mv "$dist/pyspark-$version/lib" "$dist/rootfs/opt/spark/python"
    rm -rf "$dist/pyspark-$version" "$dist/pyspark-$version.tar.gz"
    touch "$dist/complete"
fi
address=$host_address
busybox ip addr add "$address/32" dev lo
place="$place --address $address"
fresh
mkdir -p "$dist/rootfs/opt"
install -m 755 "$here/clients/spark_entrypoint.sh" "$dist/rootfs/opt/entrypoint.sh"
crest image build-rootfs "$dist/rootfs" --tag spark:test --entrypoint /opt/entrypoint.sh \
    --env JAVA_HOME=/usr --env SPARK_HOME=/opt/spark --env PYTHONPATH=/opt/spark/python/lib/pyspark.zip \
    --env PATH=/opt/spark/bin:/usr/sbin:/usr/bin:/sbin:/bin --env PYSPARK_PYTHON=python3 >/dev/null
kubectl create serviceaccount spark >/dev/null
kubectl create rolebinding spark --clusterrole=edit --serviceaccount=default:spark >/dev/null
kubectl apply -f - <<YAML >/dev/null
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local}
provisioner: crest.dev/local
volumeBindingMode: WaitForFirstConsumer
parameters: {path: $work/volumes}
YAML

# Submits from a Pod, as the guide does: with the cluster's own certificate and the token of its service account.
submit() { # NAME MODE CONFIGURATION...
    name=$1 mode=$2
    shift 2
    [ "$mode" = cluster ] && auth=submission || auth=driver
    files=/var/run/secrets/kubernetes.io/serviceaccount
    command="/opt/spark/bin/spark-submit --master k8s://https://$address:$api_port --deploy-mode $mode --name pi"
    for setting in \
        "kubernetes.authenticate.$auth.caCertFile=$files/ca.crt" \
        "kubernetes.authenticate.$auth.oauthTokenFile=$files/token" \
        "kubernetes.authenticate.driver.serviceAccountName=spark" \
        "kubernetes.driver.master=https://$address:$api_port" \
        "kubernetes.container.image=spark:test" \
        "executor.instances=2" "driver.memory=512m" "executor.memory=512m" \
        "kubernetes.driver.request.cores=0.1" "kubernetes.executor.request.cores=0.1" "$@"; do
        command="$command --conf spark.$setting"
    done
    kubectl apply -f - <<YAML >/dev/null
apiVersion: v1
kind: Pod
metadata: {name: $name, labels: {role: submitter}}
spec:
  serviceAccountName: spark
  restartPolicy: Never
  containers:
    - name: submit
      image: spark:test
      command: [sh, -c, '$command local:///opt/spark/examples/pi.py 4']
      env: [{name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
YAML
}

ended() { # POD    well, in five minutes
    tries=0 phase=
    while [ "$phase" != Succeeded ]; do
        phase=$(kubectl get pod "$1" -o jsonpath='{.status.phase}')
        tries=$((tries + 1))
        if [ "$phase" = Failed ] || [ $tries -gt 150 ]; then
            echo "$1: $phase"
            kubectl logs "$1"
            return 1
        fi
        sleep 1
    done
}

passed=0
is() { # WHAT COMMAND...
    what=$1
    shift
    if "$@" > "$work/said" 2>&1; then
        passed=$((passed + 1))
        echo "ok: $what"
    else
        echo "WRONG: $what"
        cat "$work/said"
    fi >> "$out/spark.txt"
}
found() { # TEXT COMMAND...
    text=$1
    shift
    "$@" | tee "$work/found" | grep -q "$text" || { cat "$work/found"; return 1; }
}
none() { # COMMAND...    says nothing, at the latest in half a minute
    tries=0
    while [ -n "$("$@" 2>/dev/null)" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || return 1
        sleep 0.5
    done
}

: > "$out/spark.txt"
claim=kubernetes.executor.volumes.persistentVolumeClaim.spark-local-dir-1
submit submitter cluster "$claim.options.claimName=OnDemand" "$claim.options.sizeLimit=100Mi" \
    "$claim.options.storageClass=local" "$claim.mount.path=/scratch"
is 'a job is submitted in cluster mode' ended submitter
driver=$(kubectl get pods -l spark-role=driver -o name)
is 'its driver ends well' ended "${driver#pod/}"
is 'it reckons pi' found 'Pi is roughly 3.1' kubectl logs "$driver"
is 'executors ran elsewhere' found 'executor 1' kubectl logs "$driver"
is 'executors had a claim each' found 'OnDemand\|pvc' kubectl get events
is 'executors are gone' none kubectl get pods -l spark-role=executor -o name
owner='{.items[*].metadata.ownerReferences[*].kind}'
is 'its Service went with its end' none kubectl get services -l spark-app-selector -o name
is 'its ConfigMaps are the driver'"'"'s' found Pod kubectl get configmaps -o jsonpath="$owner"
kubectl get events,pods,services,configmaps,persistentvolumeclaims >> "$out/spark.txt"
kubectl delete "$driver" --wait >/dev/null
is 'what the driver owned goes with it' none kubectl get services,configmaps -l spark-app-name=pi -o name
is 'claims go with it' none kubectl get persistentvolumeclaims -o name
submit client client 'driver.host=$ADDRESS' 'driver.bindAddress=$ADDRESS'
is 'a job runs in client mode' ended client
is 'it reckons pi' found 'Pi is roughly 3.1' kubectl logs client
is 'executors are gone' none kubectl get pods -l spark-role=executor -o name
kubectl get pods,services,configmaps,persistentvolumeclaims >> "$out/spark.txt"
kubectl logs client >> "$out/spark.txt" || true

# Batch: the driver and its executors on what services leave idle, two places for all of them.
kubectl apply -f - <<YAML >/dev/null
apiVersion: crest.dev/v1alpha1
kind: BatchQuota
metadata: {name: spark}
spec: {max: {workers: "2"}}
YAML
submit batched cluster kubernetes.scheduler.name=fuxi kubernetes.driver.label.crest.dev/quota=spark \
    kubernetes.executor.label.crest.dev/quota=spark
most=0 waited= tries=0
until kubectl get pod batched -o jsonpath='{.status.phase}' | grep -q 'Succeeded\|Failed' || [ $tries -gt 500 ]; do
    used=$(kubectl get batchquota spark -o jsonpath='{.status.used.workers}')
    [ "${used:-0}" -le "$most" ] || most=$used
    if kubectl get pods -l spark-role=executor --field-selector spec.nodeName= -o name | grep -q .; then
        waited=yes
    fi
    tries=$((tries + 1))
    sleep 0.3
done
is 'a job is submitted for batch' ended batched
driver=$(kubectl get pods -l spark-role=driver -o name)
is 'its driver ends well' ended "${driver#pod/}"
is 'it reckons pi' found 'Pi is roughly 3.1' kubectl logs "$driver"
is 'Fuxi placed the driver' found fuxi kubectl get "$driver" -o jsonpath='{.spec.schedulerName}'
is 'it asks for what batch has' found batch-memory kubectl get "$driver" -o jsonpath='{.spec.containers[0].resources}'
is 'an executor waited for the quota' [ "$waited" = yes ]
is 'the quota was used, and no more than it allows' [ "$most" -eq 2 ]
hold spark "$passed"
