#!/bin/bash
# Install, upgrade, roll back or remove the edge-classify service on Debian or Raspberry Pi OS (64 bit), without network.
set -euo pipefail
umask 022

here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
home=/opt/edge-classify
config=/etc/edge-classify/config.toml
state=/var/lib/edge-classify
backups=/var/backups/edge-classify
units=/usr/local/lib/systemd/system
commands=/usr/local/bin
unit_files=(edge-classify.service edge-classify@.service edge-report.service edge-report.timer)

usage() {
    cat <<'EOF'
sudo ./systemd/install.sh [--model FILE] [--captures DIR] [--no-start]   install or upgrade; safe to run again
sudo ./systemd/install.sh --rollback      (also as /opt/edge-classify/install.sh) return to the version and model from before the last change
sudo ./systemd/install.sh --uninstall     remove the service; database, configuration and captures stay

--model FILE     classify with this model instead of the shipped one (it stays through upgrades)
--captures DIR   where frames will land (first install only; default /srv/captures)
--no-start       install, but start nothing yet
The wheels are taken from wheels/ beside systemd/; in a checkout they are collected first, which needs a network.
EOF
}

fail() { echo "install: $*" >&2; exit 2; }
say() { echo "install: $*"; }

# --- what the host must offer

check_host() {
    [ "$(id -u)" = 0 ] || fail "this changes the system; run it with sudo"
    local version
    version=$(systemctl --version 2>/dev/null | awk 'NR == 1 { print int($2) }')
    [ "${version:-0}" -ge 252 ] || fail "systemd ${version:-(none)} is too old; expected 252 or newer (Debian 12)"
    systemd_version=$version
    python3 -c 'import sys, sqlite3, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "Python 3.11 or newer with sqlite3 is needed; on Debian 12 or newer: sudo apt-get install python3"
    case $(python3 -c 'import sysconfig; print(sysconfig.get_platform())') in
        linux-aarch64 | linux-x86_64) ;;
        *) fail "this is a 32-bit system; the wheels need the 64-bit Debian or Raspberry Pi OS" ;;
    esac
}

check_space() {
    local free_mb
    free_mb=$(df --output=avail --block-size=1M "$(dirname "$home")" | tail -n 1)
    [ "$free_mb" -ge 700 ] || fail "$free_mb MB free under $(dirname "$home"); expected 700 MB, make room first"
}

find_wheels() {
    wheels=$here/../wheels
    if [ ! -d "$wheels" ] && [ -e "$here/../pyproject.toml" ]; then
        say "no wheels/ here: collecting them into dist/ first"
        ${SUDO_USER:+runuser -u "$SUDO_USER" --} "$here/wheelhouse.sh" "$(uname -m)" \
            "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
        wheels=$here/../dist/edge-classify-$(uname -m)/wheels
    fi
    ls "$wheels"/edge_classify-*.whl >/dev/null 2>&1 ||
        fail "no wheels found in $wheels; make them with \`make wheelhouse PLATFORM=$(uname -m)\` where there is a network"
    wheels=$(cd "$wheels" && pwd)
    if [ -e "$wheels/../SHA256SUMS" ]; then
        (cd "$wheels/.." && sha256sum --check --quiet SHA256SUMS) ||
            fail "files on this stick are damaged; copy the folder again and eject the stick before pulling it"
    fi
}

# --- versions, models, releases: nothing is changed in place; `current` is moved to a complete release

# /opt/edge-classify/
#   versions/0.3.1-1a2b3c4d/            one environment for each kept version of edge-classify, with this folder in systemd/
#   models/<sha256>.onnx                models given with --model
#   releases/0.3.1-1a2b3c4d+starter/    one version with one model
#   current, previous -> releases/...
make_version() {
    local wheel
    wheel=$(ls "$wheels"/edge_classify-*.whl)
    [ "$(wc -l <<<"$wheel")" = 1 ] || fail "$wheels holds more than one edge_classify wheel; leave one"
    version=$(basename "$wheel" | cut -d- -f2)-$(sha256sum "$wheel" | cut -c1-8)
    local environment=$home/versions/$version
    [ ! -e "$environment/.complete" ] || { place_folder; return; }
    check_space
    say "installing edge-classify $version (some minutes on a Raspberry Pi)"
    rm -rf "$environment"
    python3 -m venv --without-pip "$environment"
    # pip runs from its own wheel and is not left on the device.
    PIP_CONFIG_FILE=/dev/null "$environment/bin/python" "$(echo "$wheels"/pip-*.whl)/pip" --isolated install --quiet \
        --no-index --find-links "$wheels" --no-cache-dir --root-user-action ignore --disable-pip-version-check "$wheel" ||
        { rm -rf "$environment"; fail "the wheels did not install (see above); were they made for this Python and $(uname -m)?"; }
    place_folder
    touch "$environment/.complete"
}

# Units and installer are kept with their version, so that a roll-back restores them as well.
place_folder() {
    local folder=$home/versions/$version/systemd
    [ "$here" != "$folder" ] || return 0
    rm -rf "$folder" && cp -r "$here" "$folder"
    ! [ -e "$here/../deploy.md" ] || cp "$here/../deploy.md" "$folder/"
}

# Sets `model` to the file that the release will use: the given one, else the one in use, else the shipped one.
choose_model() {
    local in_use=$home/current/model.onnx
    local shipped
    shipped=$(echo "$home/versions/$version"/lib/python3*/site-packages/edge/models/starter.onnx)
    if [ -n "$given_model" ]; then
        [ -r "$given_model" ] || fail "$given_model: the model cannot be read; check --model"
        model=$home/models/$(sha256sum "$given_model" | cut -c1-16).onnx
        "$home/versions/$version/bin/python" -c 'import sys; from edge.inference.model import Model, ModelError
try:
    Model(sys.argv[1])
except ModelError as error:
    sys.exit(f"install: {error}")' "$given_model" || fail "the model is refused; nothing was changed"
        mkdir -p "$home/models"
        cp "$given_model" "$model.new" && mv "$model.new" "$model"
        (cd "$home/models" && sha256sum "$(basename "$model")" >"$model.sha256")
    elif [ -e "$in_use" ] && [[ $(readlink -f "$in_use") == "$home/models/"* ]]; then
        model=$(readlink -f "$in_use")
    else
        model=$shipped
        [ -e "$model" ] || fail "this wheel ships no model; give one with --model FILE"
    fi
}

make_release() {
    release=$home/releases/$version+$(basename "$model" .onnx)
    [ ! -e "$release/model.onnx" ] || return 0
    rm -rf "$release.new" && mkdir -p "$release.new"
    ln -s "$home/versions/$version" "$release.new/venv"
    ln -s "$model" "$release.new/model.onnx"
    [ ! -e "$model.sha256" ] || ln -s "$model.sha256" "$release.new/model.onnx.sha256"
    mv -T "$release.new" "$release"
}

point() { ln -sfn "$2" "$1.new" && mv -T "$1.new" "$1"; }

activate() {
    local before
    before=$(readlink "$home/current" 2>/dev/null || true)
    [ "$before" != "$release" ] || return 0
    [ -z "$before" ] || point "$home/previous" "$before"
    point "$home/current" "$release"
}

forget_old() {
    local keep path
    keep=$(readlink -f "$home"/{current,previous}{,/venv,/model.onnx} 2>/dev/null || true)
    for path in "$home"/releases/* "$home"/versions/* "$home"/models/*.onnx; do
        [ ! -e "$path" ] || grep -qxF "$path" <<<"$keep" || rm -rf "$path" "$path.sha256"
    done
}

# --- user, folders, configuration, units

place_user() {
    install -D -m 644 "$home/versions/$version/systemd/edge-classify.sysusers" /usr/local/lib/sysusers.d/edge-classify.conf
    systemd-sysusers /usr/local/lib/sysusers.d/edge-classify.conf
}

place_config() {
    install -d -m 755 "$(dirname "$config")"
    if [ ! -e "$config" ]; then
        local captures=${given_captures:-/srv/captures}
        [ "${captures#/}" != "$captures" ] || fail "--captures $captures: expected an absolute path"
        [[ $captures != /home/* && $captures != /root/* ]] ||
            fail "--captures $captures: home folders are hidden from the service; expected one such as /srv/captures"
        sed "s|^watch = .*|watch = \"$captures\"|" "$here/config.toml" >"$config"
        # Whoever installs may copy frames there; the service reads the folder as one of the others.
        [ -d "$captures" ] || install -d -m 755 ${SUDO_USER:+-o "$SUDO_USER"} "$captures"
    fi
    install -m 644 "$here/config.toml" "$config.sample"
}

place_units() {
    install -d "$units"
    local folder=$home/current/venv/systemd
    local unit
    for unit in "${unit_files[@]}"; do install -m 644 "$folder/$unit" "$units/$unit"; done
    for unit in edge-classify edge-classify@; do
        if [ "$systemd_version" -ge 254 ]; then
            install -D -m 644 "$folder/back-off.conf" "$units/$unit.service.d/back-off.conf"
        fi
    done
    ln -sfn current/venv/systemd/install.sh "$home/install.sh"
    ! [ -e "$folder/deploy.md" ] || ln -sfn current/venv/systemd/deploy.md "$home/deploy.md"
    local command
    for command in "$home"/current/venv/bin/edge-*; do
        ln -sfn "$home/current/venv/bin/$(basename "$command")" "$commands/$(basename "$command")"
    done
    systemctl daemon-reload
}

# --- the service

# A copy made by SQLite itself is complete at any moment; a copied file would lack its write-ahead log.
back_up() {
    local database
    for database in "$state"/detections.db "$state"/*/detections.db; do
        [ -e "$database" ] || continue
        local name=${database#"$state"/}
        install -d -m 700 "$backups"
        python3 -c 'import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as source, sqlite3.connect(sys.argv[2]) as copy:
    source.backup(copy)' "$database" "$backups/${name//\//-}"
        say "database saved to $backups/${name//\//-}"
    done
}

running_instances() { systemctl list-units --plain --no-legend --state=active,reloading 'edge-classify@*.service' | cut -d' ' -f1; }

start() {
    systemctl enable --quiet edge-classify.service edge-report.timer
    systemctl restart edge-report.timer
    # READY is sent when model and database are open: a restart that succeeds means a working service.
    # shellcheck disable=SC2046
    systemctl restart edge-classify.service $(running_instances)
}

install_or_upgrade() {
    check_host
    find_wheels
    make_version
    choose_model
    make_release
    local before
    before=$(readlink "$home/current" 2>/dev/null || true)
    [ -z "$before" ] || [ "$before" = "$release" ] || back_up
    place_user
    activate
    place_config
    place_units
    if [ "$start" = no ]; then
        say "installed; start it with: sudo systemctl enable --now edge-classify edge-report.timer"
        return
    fi
    if ! start; then
        journalctl --unit edge-classify --lines 10 --no-pager >&2 || true
        if [ -n "$before" ] && [ "$before" != "$release" ]; then
            say "the new release does not start; returning to the one before"
            roll_back
            exit 1
        fi
        fail "installed, but the service does not start; see above and run: edge-doctor"
    fi
    forget_old
    say "edge-classify $version is running with $(basename "$(readlink -f "$home/current/model.onnx")")"
    say "settings: $config   captures: $(sed -n 's/^watch = "\(.*\)"/\1/p' "$config")   database: $state/detections.db"
}

roll_back() {
    [ -L "$home/previous" ] || fail "there is no previous release to go back to"
    local now before
    now=$(readlink "$home/current") before=$(readlink "$home/previous")
    local database
    for database in "$state"/detections.db "$state"/*/detections.db; do
        [ ! -e "$database" ] || "$before/venv/bin/python" -c 'import sqlite3, sys; from edge.database.schema import MIGRATIONS
with sqlite3.connect(sys.argv[1]) as database:
    sys.exit(database.execute("PRAGMA user_version").fetchone()[0] > len(MIGRATIONS))' "$database" ||
            fail "the older version cannot read $database any more; its state before the upgrade is in $backups"
    done
    point "$home/current" "$before"
    point "$home/previous" "$now"
    place_units
    start
    say "returned to $(basename "$before"); the release that was replaced is $(basename "$now") (--rollback again returns to it)"
}

uninstall() {
    # shellcheck disable=SC2046
    systemctl disable --quiet --now edge-report.timer edge-classify.service $(running_instances) 2>/dev/null || true
    local unit link
    for unit in "${unit_files[@]}"; do rm -rf "${units:?}/$unit" "${units:?}/$unit.d"; done
    for link in "$commands"/edge-*; do
        [[ $(readlink "$link") != "$home/"* ]] || rm "$link"
    done
    rm -rf "$home" /usr/local/lib/sysusers.d/edge-classify.conf
    systemctl daemon-reload
    systemctl reset-failed 'edge-classify*' 'edge-report*' 2>/dev/null || true
    say "removed. Kept: $state (database, reports), $(dirname "$config"), $backups, the captured files, and the user edge-classify who owns them"
}

task=install_or_upgrade start=yes given_model='' given_captures=''
while [ $# -gt 0 ]; do
    case $1 in
        --model) given_model=$(readlink -f "${2:?--model needs a file}") && shift ;;
        --captures) given_captures=${2:?--captures needs a folder} && shift ;;
        --no-start) start=no ;;
        --rollback) task=roll_back ;;
        --uninstall) task=uninstall ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "$1 is not known" ;;
    esac
    shift
done
check_host
$task
