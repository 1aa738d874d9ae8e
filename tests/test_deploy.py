"""The files of deploy/: linted, and their commands understood by the programs that they start."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.redis_server import RedisServer
from tfrs_twotower.cli.main import build_parser
from tfrs_twotower.online.redis_connection import check_durable

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = "1.31"


def _services():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def _manifests():
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    return [manifest for path in files for manifest in yaml.safe_load_all(path.read_text())]


def _container(kind, name):
    (manifest,) = [m for m in _manifests() if m["kind"] == kind and m["metadata"]["name"] == name]
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    return container


def test_the_dockerfile_is_linted():
    tool = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([tool, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_the_image_has_the_extras_that_the_commands_need():
    text = (DEPLOY / "Dockerfile").read_text()
    extras = set(re.search(r'"\.\[(.+)\]"', text).group(1).split(","))
    config = configparser.ConfigParser()
    config.read(DEPLOY.parent / "setup.cfg")
    assert {"serve", "redis", "scann"} <= extras <= set(config["options.extras_require"])


def test_compose_reads_its_file():
    if shutil.which("docker-compose") is None:
        reason = "needs docker-compose (Debian: apt install docker-compose)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    profiles = [word for name in ("ours", "portable", "watch") for word in ("--profile", name)]
    command = ["docker-compose", "-f", DEPLOY / "compose.yaml", *profiles, "config", "-q"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_compose_publishes_on_loopback_and_mounts_what_is_there():
    for service in _services().values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith("./") or (DEPLOY / source).exists(), source


def test_the_first_example_exports_what_the_first_service_can_run():
    example = re.search(r"twotower (export .+)", (DEPLOY / "compose.yaml").read_text()).group(1)
    args = build_parser().parse_args(shlex.split(example))
    assert args.flavour == "portable"
    mounted = _services()["portable"]["volumes"][0]
    assert mounted == "${EXPORT_ROOT:-./models}:/models/twotower:ro" and args.to == "deploy/models"


def test_kubernetes_knows_each_manifest():
    manifests = [m for m in _manifests() if m["kind"] != "Kustomization"]
    assert len(manifests) == 7
    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    (listed,) = [m["resources"] for m in _manifests() if m["kind"] == "Kustomization"]
    assert {*listed, "kustomization.yaml"} == {path.name for path in (DEPLOY / "kubernetes").iterdir()}


@pytest.mark.parametrize("command", [
    pytest.param(lambda: _services()["ours"]["command"], id="compose"),
    pytest.param(lambda: _container("Deployment", "twotower")["args"], id="kubernetes"),
])
def test_our_server_understands_its_command(command):
    program, *words = command()
    args = build_parser().parse_args(words)
    assert program == "twotower" and (args.root, args.host) == ("/models", "0.0.0.0")
    assert args.insecure or args.api_key_file


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_redis_keeps_what_it_acknowledges(where, tmp_path):
    words = _services()["store"]["command"][1:]
    if where == "kubernetes":
        (script,) = _container("StatefulSet", "store")["args"]
        words = shlex.split(script.split("redis-server - ")[1])
    server = RedisServer(tmp_path, words).start()
    try:
        check_durable(server.client, server.url)  # raises if it may lose events
    finally:
        server.stop()


def test_prometheus_asks_where_the_server_answers():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["metrics_path"] in (DEPLOY / "monitoring.config").read_text()
    (targets,) = job["static_configs"]
    assert {target.split(":")[0] for target in targets["targets"]} <= set(_services())
