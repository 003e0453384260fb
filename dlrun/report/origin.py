"""Whether the runs of a comparison have the same code, data and versions, which an extended sweep need not have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlrun.config.schema import entries
from dlrun.errors import ConfigError
from dlrun.report.jobs import ComparedRun
from dlrun.store.reader import sweep_of
from dlrun.store.reading import read_json, try_read_text

Facts = dict[tuple[str, str], str]  # (kind, name) to a hash or a version


def on_origin(jobs: Sequence[ComparedRun]) -> str:
    """The remark on finished runs with other code, data or versions than the newest; empty if there are none."""
    finished = [job for job in jobs if job.status == "finished"]
    ordered = sorted(finished, key=lambda job: str(job.run.status.get("started") or ""))
    data = {folder: _data_of(folder) for folder in {sweep_of(job.run.path) for job in ordered} if folder}
    known = [facts_of(job, data) for job in ordered]
    newest = {key: value for facts in known for key, value in facts.items()}
    odd = [[what for what, of in facts if facts[what, of] != newest[what, of]] for facts in known]
    whats = list(dict.fromkeys(what for found in odd for what in found))
    if "code" in whats:  # the hash of the code covers these
        whats = [what for what in whats if what not in ("plug-ins", "version of dlrun")]
    count = sum(bool(found) for found in odd)
    if not count:
        return ""
    again = "; in their sweep, sweep.refresh=true runs such jobs again" if data else ""
    return (
        f"{count} of {len(finished)} finished runs were made with other {' and '.join(whats)} than the newest: "
        f"differences may come from that{again}."
    )


def facts_of(job: ComparedRun, data: dict[Path, dict[str, str]]) -> Facts:
    """The recorded hashes and versions of a run's code and data; unknown ones are left out."""
    facts: dict[tuple[str, str], Any] = {}
    sweep = sweep_of(job.run.path)
    if sweep is not None:
        facts["code", ""] = read_json(sweep / ".state" / f"{job.run.path.name}.json").get("code")
        facts["data", repr(job.run.config.get("dataset"))] = data[sweep].get(job.run.path.name)
    environment = read_json(job.run.file("environment.json"))  # not kept, as `job.run.environment` would be
    plugins, versions = (environment.get(part) for part in ("plugins", "versions"))
    for plugin in plugins if isinstance(plugins, list) else ():
        if isinstance(plugin, dict):
            facts["plug-ins", Path(str(plugin.get("name"))).name] = plugin.get("sha256")
    if isinstance(versions, dict):
        facts |= {(f"version of {name}", ""): versions.get(name) for name in ("dlrun", "torch")}
    return {key: str(value) for key, value in facts.items() if value}


def _data_of(sweep: Path) -> dict[str, str]:
    """The hashes of the jobs' data files in a sweep.yaml."""
    text = try_read_text(sweep / "sweep.yaml") or ""
    try:
        values = entries.load_entries(text, "sweep.yaml")
    except ConfigError:
        values = None
    jobs = values.get("jobs") if isinstance(values, dict) else None
    found = jobs.items() if isinstance(jobs, dict) else ()
    return {str(slug): str(job["data"]) for slug, job in found if isinstance(job, dict) and job.get("data")}
