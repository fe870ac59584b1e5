#!/usr/bin/env bash
# Starts and stops one service of the test stack: see README.md beside this file.
#
#   stack.sh start SERVICE DIR      SERVICE: kafka kafka-sasl cassandra cassandra-tls registry
#   stack.sh stop DIR | kill DIR
#   stack.sh status DIR             one line; exit code 1 if it does not run
set -euo pipefail
# Also a failure inside $(…) ends the script: half of a download must not pass for the whole.
shopt -s inherit_errexit
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
java=${JAVA:-java}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ridgeline/stack
start_max_s=${START_MAX_S:-120}
registry_version=3.0.9

die() {
  echo "stack: $*" >&2
  exit 1
}

main() {
  local verb=${1:-} service
  case $verb in
    start)
      [ $# -eq 3 ] || die "usage: stack.sh start SERVICE DIR"
      service=$2
      mkdir -p "$3"
      dir=$(cd "$3" && pwd)
      ! running || die "already running: $dir"
      rm -f "$dir/pid"
      case $service in
        kafka | kafka-sasl | cassandra | cassandra-tls | registry) "start_${service%%-*}" "$service" ;;
        *) die "no such service: $service" ;;
      esac
      ;;
    stop | kill | status)
      [ $# -eq 2 ] || die "usage: stack.sh $verb DIR"
      dir=$(cd "$2" && pwd)
      "${verb}_it"
      ;;
    *) die "usage: stack.sh start|stop|kill|status …" ;;
  esac
}

# Every service has its folder in its command line. Without that proof the number belongs to somebody else by now, for
# instance because the machine was started again.
running() {
  [ -f "$dir/pid" ] && grep -qaF "$dir/" "/proc/$(cat "$dir/pid")/cmdline" 2>/dev/null
}

stop_it() {
  running || return 0
  kill "$(cat "$dir/pid")" 2>/dev/null || true
  for _ in $(seq 300); do
    running || break
    sleep 0.1
  done
  kill_it
}

kill_it() {
  # Asked of `running`, not of `kill -0`: an ended process that nobody has waited for still takes signals.
  while running; do
    kill -9 "$(cat "$dir/pid")" 2>/dev/null || true
    sleep 0.02
  done
  rm -f "$dir/pid"
  clear_elsewhere
}

status_it() {
  running || {
    echo "$(basename "$dir"): not running"
    return 1
  }
  local pid kilobytes
  pid=$(cat "$dir/pid")
  kilobytes=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
  echo "$(basename "$dir"): $(cat "$dir/address"), pid $pid, $((kilobytes / 1024)) MB"
}

# port NAME: the one of an earlier start here, else the wanted one, else a free one. Another start at the same moment could take
# it before the service does; the service then ends with its own message.
port() {
  local file=$dir/$1.port
  if [ ! -f "$file" ]; then
    if [ -n "${2:-}" ]; then echo "$2"; else free_port; fi >"$file"
  fi
  cat "$file"
}

free_port() {
  local candidate
  while :; do
    # Below the range that the system gives to outgoing connections.
    candidate=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    (: <>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null || break
  done
  echo "$candidate"
}

# jars NAME: the folder of the artifacts that NAME.pom.xml lists, loaded once for each content of that file.
jars() {
  local pom=$here/$1.pom.xml lib
  lib=$cache/$1-$(sha256sum "$pom" | cut -c1-12)
  once "$lib" load_jars "$pom" "$lib"
  echo "$lib"
}

load_jars() {
  mvn -B -q -Dstyle.color=never -f "$1" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime "-DoutputDirectory=$2" >&2
  touch "$2/.complete"
}

# once FOLDER COMMAND…: runs the command, which fills the folder and ends with FOLDER/.complete, unless that is there.
once() {
  local folder=$1
  shift
  [ ! -f "$folder/.complete" ] || return 0
  mkdir -p "$cache"
  # Two starts at once load once.
  exec 9>"$cache/.lock"
  flock 9
  if [ ! -f "$folder/.complete" ]; then
    echo "stack: loading $(basename "$folder")" >&2
    rm -rf "$folder"
    "$@"
  fi
  exec 9>&-
}

# run READY COMMAND…: in the background, its output in the log, until the log (or, for an address, the service) says READY.
run() {
  local ready=$1
  shift
  : >"$dir/log"
  # A session of its own: Ctrl-C at the terminal ends the tests, and their clean-up ends the service.
  setsid "$@" >>"$dir/log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid" >"$dir/pid"
  for _ in $(seq $((start_max_s * 10))); do
    if is_ready "$ready"; then return 0; fi
    kill -0 "$pid" 2>/dev/null || give_up "it ended"
    sleep 0.1
  done
  kill_it
  give_up "it was not up after $start_max_s s"
}

is_ready() {
  case $1 in
    http*) curl -sf -o /dev/null "$1" ;;
    *) grep -q "$1" "$dir/log" ;;
  esac
}

give_up() {
  rm -f "$dir/pid"
  echo "stack: $(basename "$dir"): $1; the end of $dir/log:" >&2
  tail -n 25 "$dir/log" >&2
  exit 1
}

# A certificate authority, and a certificate for this machine under it: ca.pem, server.pem (key first, as PKCS#8).
certificates() {
  [ ! -f "$dir/server.pem" ] || return 0
  (
    cd "$dir"
    umask 077
    new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
    openssl req -x509 "${new_key[@]}" -days 365 -subj "/CN=ridgeline test authority" -keyout ca.key -out ca.pem
    openssl req "${new_key[@]}" -subj "/CN=localhost" -keyout server.key -out server.csr
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -out server.crt \
      -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1")
    { openssl pkcs8 -topk8 -nocrypt -in server.key && cat server.crt ca.pem; } >server.pem
    chmod 644 ca.pem
  ) >"$dir/certificates.log" 2>&1 || die "no certificates: $(tail -n 3 "$dir/certificates.log")"
}

password() {
  [ -f "$dir/password" ] || (umask 077 && openssl rand -hex 16 >"$dir/password")
  cat "$dir/password"
}

start_kafka() {
  local lib port controller protocol=PLAINTEXT
  lib=$(jars kafka)
  port=$(port broker "${PORT:-}")
  controller=$(port controller)
  [ "$1" = kafka ] || protocol=SASL_SSL
  # A second listener for those who come through a proxy at $DETOUR, and are told to come back there.
  local detour='' detour_advertised='' detour_map=''
  if [ -n "${DETOUR:-}" ]; then
    detour=,DETOUR://127.0.0.1:$(port detour)
    detour_advertised=,DETOUR://$DETOUR
    detour_map=,DETOUR:PLAINTEXT
  fi
  cat >"$dir/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=$protocol://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$detour
advertised.listeners=$protocol://${ADVERTISED:-127.0.0.1:$port}$detour_advertised
listener.security.protocol.map=$protocol:$protocol,CONTROLLER:PLAINTEXT$detour_map
inter.broker.listener.name=$protocol
log.dirs=$dir/data
auto.create.topics.enable=false
# One node.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# Groups at once, and short sessions for tests that want them.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A broker that was killed may come back this soon.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Little memory, few threads.
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
P
  local format=()
  if [ "$1" = kafka-sasl ]; then
    certificates
    kafka_sasl >>"$dir/server.properties"
    # `guest` may nothing until a rule says so.
    format=(--add-scram "SCRAM-SHA-512=[name=tester,password=$(password)]"
      --add-scram "SCRAM-SHA-256=[name=tester,password=$(password)]"
      --add-scram "SCRAM-SHA-512=[name=guest,password=$(password)]")
  fi
  local jvm=("$java" -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData -Djava.net.preferIPv4Stack=true
    "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$lib/*")
  if [ ! -f "$dir/data/meta.properties" ]; then
    "${jvm[@]}" -Xmx128m -XX:TieredStopAtLevel=1 kafka.tools.StorageTool format --cluster-id cmlkZ2VsaW5lLXRlc3RzMQ \
      --config "$dir/server.properties" ${format[@]+"${format[@]}"} >"$dir/format.log" 2>&1 ||
      die "the storage could not be formatted: $(tail -n 5 "$dir/format.log")"
  fi
  echo "127.0.0.1:$port" >"$dir/address"
  run "Kafka Server started" "${jvm[@]}" -Xms256m -Xmx512m kafka.Kafka "$dir/server.properties"
}

kafka_sasl() {
  local scram=org.apache.kafka.common.security.scram.ScramLoginModule
  local plain=org.apache.kafka.common.security.plain.PlainLoginModule
  local own
  own=$(password)
  cat <<P
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# The controller's listener is for this machine alone and has no users.
super.users=User:tester;User:broker;User:ANONYMOUS
# Among themselves brokers use PLAIN: the SCRAM users are known only once they run.
sasl.mechanism.inter.broker.protocol=PLAIN
ssl.keystore.type=PEM
ssl.keystore.location=$dir/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/ca.pem
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$scram required;
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$scram required;
listener.name.sasl_ssl.plain.sasl.jaas.config=$plain required username="broker" password="$own" user_broker="$own";
P
}

# The folder of Cassandra's files. It asks the mounts for their size and does not start where it finds none, as in a chroot whose
# root is no mount; they go to memory then, and the file `elsewhere` says where.
files() {
  local shared place
  if ! command -v findmnt >/dev/null || findmnt -n -T "$dir" >/dev/null; then
    echo "$dir"
    return
  fi
  if [ ! -f "$dir/elsewhere" ]; then
    shared=/dev/shm/ridgeline-stack-$(id -u)
    (umask 077 && mkdir -p "$shared")
    # One start at a time: what another is about to enter would look left behind.
    exec 8>"$shared/.lock"
    flock 8
    # What was left there by folders that are gone.
    for place in "$shared"/*/; do
      [ ! -f "$place/home" ] || [ -f "$(cat "$place/home")/elsewhere" ] || rm -rf "$place"
    done
    place=$(mktemp -d "$shared/XXXXXX")
    echo "$dir" >"$place/home"
    echo "$place" >"$dir/elsewhere"
    exec 8>&-
    echo "stack: no mount is known for $dir: its files are in $place" >&2
  fi
  cat "$dir/elsewhere"
}

# A service that is not meant to last leaves nothing in memory.
clear_elsewhere() {
  if [ -f "$dir/elsewhere" ] && [ ! -f "$dir/lasting" ]; then
    rm -rf "$(cat "$dir/elsewhere")"
    rm "$dir/elsewhere"
  fi
}

start_cassandra() {
  local lib port storage files
  files=$(files)
  lib=$(jars cassandra)
  port=$(port cql "${PORT:-}")
  storage=$(port storage)
  cassandra_yaml "$port" "$storage" "$files" >"$dir/cassandra.yaml"
  if [ "$1" = cassandra-tls ]; then
    certificates
    # The superuser that Cassandra makes.
    echo cassandra >"$dir/password"
    cat >>"$dir/cassandra.yaml" <<Y
authenticator: PasswordAuthenticator
client_encryption_options:
  enabled: true
  optional: false
  keystore: $dir/server.pem
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
Y
  else
    echo "authenticator: AllowAllAuthenticator" >>"$dir/cassandra.yaml"
  fi
  echo "127.0.0.1:$port" >"$dir/address"
  local forgetful=true
  [ -z "${LASTING:-}" ] || { forgetful=false && : >"$dir/lasting"; }
  run "Starting listening for CQL clients" "$java" @"$here/cassandra.jvm" -Xms256m -Xmx1024m \
    "-Dcassandra.unsafesystem=$forgetful" \
    "-javaagent:$(ls "$lib"/jamm-*.jar)" "-Dlogback.configurationFile=$here/logback.xml" \
    "-Dcassandra.config=file://$dir/cassandra.yaml" "-Dcassandra.storagedir=$files" "-Dcassandra.logdir=$dir" \
    -cp "$lib/*" org.apache.cassandra.service.CassandraDaemon
}

cassandra_yaml() {
  # A node that is killed loses what it answered in its last 100 ms, unless each write waits for the log.
  local log_sync='commitlog_sync: periodic
commitlog_sync_period: 10s'
  [ -z "${LASTING:-}" ] || log_sync='commitlog_sync: batch'
  cat <<Y
cluster_name: ridgeline tests
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:$2"
listen_address: 127.0.0.1
storage_port: $2
rpc_address: 127.0.0.1
native_transport_port: $1
data_file_directories: ["$3/data"]
commitlog_directory: $3/commitlog
saved_caches_directory: $3/saved_caches
hints_directory: $3/hints
cdc_raw_directory: $3/cdc_raw
$log_sync
commitlog_segment_size: 16MiB
commitlog_total_space: 256MiB
hinted_handoff_enabled: false
auto_snapshot: false
authorizer: AllowAllAuthorizer
# Little memory, few threads.
concurrent_reads: 8
concurrent_writes: 8
concurrent_compactors: 1
native_transport_max_threads: 16
memtable_heap_space: 128MiB
memtable_offheap_space: 64MiB
key_cache_size: 16MiB
file_cache_size: 64MiB
networking_cache_size: 32MiB
# Busy neighbours make a machine slow; that is no failure of the node.
read_request_timeout: 10s
range_request_timeout: 20s
write_request_timeout: 10s
cas_contention_timeout: 5s
truncate_request_timeout: 60s
request_timeout: 20s
Y
}

start_registry() {
  local app=$cache/registry-$registry_version port management
  port=$(port http "${PORT:-}")
  management=$(port management)
  once "$app" registry_program "$app"
  local url=http://127.0.0.1:$port/apis/ccompat/v7
  echo "$url" >"$dir/address"
  run "$url/subjects" "$java" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Xmx256m "-Dridgeline.stack=$dir/" \
    -Djava.net.preferIPv4Stack=true -Djava.util.logging.manager=org.jboss.logmanager.LogManager \
    -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$port" \
    -Dquarkus.management.host=127.0.0.1 "-Dquarkus.management.port=$management" \
    -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 -jar "$app/$(cat "$app/.complete")"
}

# A plain archive. The parent of its Maven project is not published, and only the old plugin does not ask for it.
registry_program() {
  local app=$1 name=apicurio-registry-app archive jar
  mkdir -p "$app"
  mvn -B -q -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:2.8:get \
    -Dtransitive=false "-Dmaven.repo.local=$app/loaded" \
    "-Dartifact=io.apicurio:$name:$registry_version:tar.gz:all" >&2
  archive=$app/loaded/io/apicurio/$name/$registry_version/$name-$registry_version-all.tar.gz
  tar -C "$app" -xzf "$archive"
  rm -rf "$app/loaded"
  jar=$(cd "$app" && find . -maxdepth 1 -name "*run*.jar" -printf "%f\n" | head -n 1)
  [ -n "$jar" ] || die "the registry's archive holds no program"
  echo "$jar" >"$app/.complete"
}

main "$@"
