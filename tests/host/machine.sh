# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The virtual machine of the host tests; sourced by build-image and run. Both must describe the
# same machine, because its frozen state is resumed by `run`.

# Keep the guest's memory out of the saved state: it is the file `ram` itself.
VM_IGNORE_SHARED='{"capabilities":[{"capability":"x-ignore-shared","state":true}]}'

VM_PIDS=()

# vm_start RUNDIR CACHE DISK SHARE create|resume|boot LINK
# LINK: "isolated", or the arguments of the -netdev behind the second card.
# Sets VM_PID, VM_PORT; the QMP monitor is on file descriptors VM_IN, VM_OUT.
vm_start() {
    local rundir=$1 cache=$2 disk=$3 share=$4 mode=$5 link=$6 mem ram reply incoming=()
    mem=$(cat "$cache/mem")
    [ "$link" != isolated ] || link=hubport,hubid=1
    case $mode in
        create) ram=memory-backend-file,mem-path=ram,share=on ;;
        resume) ram=memory-backend-file,mem-path=ram,share=off  # copy-on-write
                incoming=(-incoming defer) ;;
        boot)   ram=memory-backend-ram ;;
        *)      return 1 ;;
    esac
    VM_CACHE=$cache VM_RUNDIR=$rundir
    mkfifo "$rundir/mon.in" "$rundir/mon.out"
    (cd "$cache" && exec setpriv --pdeathsig KILL \
        qemu-system-x86_64 -nodefaults -no-user-config -display none \
        -machine pc-q35-7.2,memory-backend=ram -cpu max -accel tcg,thread=multi,tb-size=256 \
        -smp 2 -m "$mem" -object "$ram,id=ram,size=${mem}M" \
        -rtc base=utc -kernel kernel -initrd initrd \
        -append 'root=/dev/vda rw console=ttyS0 quiet mitigations=off systemd.show_status=0' \
        -drive if=none,id=disk,file="$disk",format=qcow2,cache=unsafe,discard=unmap \
        -device virtio-blk-pci,drive=disk \
        -netdev user,id=user,restrict=on,hostfwd=tcp:127.0.0.1:0-:22 \
        -device virtio-net-pci,netdev=user,mac=52:54:00:00:00:01,romfile= \
        -netdev "$link,id=link" -device virtio-net-pci,netdev=link,mac=52:54:00:00:00:02,romfile= \
        -fsdev local,id=share,path="${share//,/,,}",security_model=none \
        -device virtio-9p-pci,fsdev=share,mount_tag=share \
        -device virtio-rng-pci \
        -serial file:"$rundir/console" -qmp stdio ${incoming[@]+"${incoming[@]}"} \
        <"$rundir/mon.in" >"$rundir/mon.out" 2>"$rundir/qemu.err" 9>&-) &
    VM_PID=$!
    VM_PIDS+=("$VM_PID")
    exec {VM_IN}>"$rundir/mon.in" {VM_OUT}<"$rundir/mon.out"
    vm_qmp qmp_capabilities >/dev/null || return 1
    if [ "$mode" = resume ]; then
        vm_qmp migrate-set-capabilities "$VM_IGNORE_SHARED" >/dev/null
        vm_qmp migrate-incoming '{"uri":"exec:cat state"}' >/dev/null
        vm_migration_wait || return 1
    fi
    reply=$(vm_qmp human-monitor-command '{"command-line":"info usernet"}')
    [[ $reply =~ HOST_FORWARD\]\ +[0-9]+\ +127\.0\.0\.1\ +([0-9]+) ]] || return 1
    VM_PORT=${BASH_REMATCH[1]}
}

# vm_qmp COMMAND [ARGUMENTS-JSON]: print the reply of the QEMU monitor.
vm_qmp() {
    local line
    printf '{"execute":"%s","arguments":%s}\n' "$1" "${2:-{\}}" >&"$VM_IN"
    while IFS= read -r -t 120 line <&"$VM_OUT"; do
        case $line in
            '{"return"'*) printf '%s\n' "$line"; return 0 ;;
            '{"error"'*) printf 'QEMU: %s\n' "$line" >&2; return 1 ;;
        esac
    done
    cat "$VM_RUNDIR/qemu.err" >&2
    return 1
}

# vm_migration_wait: until the migration in progress is complete.
vm_migration_wait() {
    local reply
    while reply=$(vm_qmp query-migrate); do
        case $reply in
            *'"status": "completed"'*) return 0 ;;
            *'"status": "failed"'*) printf 'QEMU: %s\n' "$reply" >&2; return 1 ;;
        esac
        sleep 0.1
    done
    return 1
}

# vm_ssh COMMAND: in the machine; for at most VM_TIMEOUT seconds if that is set.
vm_ssh() {
    ${VM_TIMEOUT:+timeout --foreground "$VM_TIMEOUT"} ssh -F none -i "$VM_CACHE/key" -p "$VM_PORT" -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=10 \
        -o IdentitiesOnly=yes root@127.0.0.1 "$@"
}

# vm_wait_ssh SECONDS
vm_wait_ssh() {
    local end=$((SECONDS + $1))
    until vm_ssh true </dev/null 2>/dev/null; do
        kill -0 "$VM_PID" 2>/dev/null || { cat "$VM_RUNDIR/qemu.err" >&2; return 1; }
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}

# Save the running machine as CACHE/ram + CACHE/state and end it.
vm_freeze() {
    vm_qmp migrate-set-capabilities "$VM_IGNORE_SHARED" >/dev/null
    vm_qmp migrate '{"uri":"exec:cat > state"}' >/dev/null
    vm_migration_wait || return 1
    vm_stop
}

vm_stop() {
    vm_qmp quit >/dev/null 2>&1 || true
    exec {VM_IN}>&- {VM_OUT}<&-
    wait "$VM_PID" 2>/dev/null || true
}

# vm_kill_all: end every machine of this script.
vm_kill_all() {
    [ ${#VM_PIDS[@]} -gt 0 ] || return 0
    kill "${VM_PIDS[@]}" 2>/dev/null || true
    wait "${VM_PIDS[@]}" 2>/dev/null || true
}
