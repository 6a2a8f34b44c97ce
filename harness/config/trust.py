"""Trust in configurations: settings that a target cannot choose, and variables that a file cannot have sent.

A target (a run, an exported policy) is data of perhaps another person. Its configuration says how a policy was trained,
and never where requests go, which environment variable is sent there, which files are read and written, or which code
is run: these settings come from the command line or from the sweep file that the user named. See docs/security.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from harness.config.tree import find, plain
from harness.config.yaml_source import Node, Problem, Source
from harness.env.environment_settings import EnvironmentSettings
from harness.env.prompts.own_perturbations import own_parts
from harness.operators.operator_settings import (
    DEFAULT_KEY_VARIABLE,
    DEFAULT_SEARCH_VARIABLE,
    EndpointBackend,
    LocalBackend,
    SearchR1Settings,
    WebSearchSettings,
)
from harness.types.own_code import names_function

COMMAND_LINE = "command line"
"""Name of the source of settings that the user typed."""
EXTENSION = "WORKFLOW_HARNESS_KEY_VARIABLES"
"""Environment variable that lists further names, separated by commas, as variables of keys of services."""
PROVIDER_VARIABLES = frozenset(
    f"{provider}_API_KEY"
    for provider in (
        "ANTHROPIC", "AZURE_OPENAI", "BING_SEARCH", "BRAVE", "CEREBRAS", "COHERE", "DASHSCOPE", "DEEPINFRA", "DEEPSEEK",
        "FIREWORKS", "GEMINI", "GOOGLE", "GROQ", "LITELLM", "MISTRAL", "MOONSHOT", "NEBIUS", "NVIDIA", "OPENAI",
        "OPENROUTER", "PERPLEXITY", "SEARCH", "SERPAPI", "SERPER", "SGLANG", "TAVILY", "TOGETHER", "VLLM", "XAI",
        "ZHIPU",
    )
)  # fmt: skip
"""Variables of keys of language models and of web search."""
_OTHER_SERVICES = re.compile(
    r"(AWS|AMAZON|AZURE|GCP|GOOGLE|GCLOUD|CLOUDFLARE|DO|HEROKU|S3|MINIO|GITHUB|GH|GITLAB|BITBUCKET|CI|MLFLOW|WANDB|COMET"
    r"|NEPTUNE|HF|HUGGING|HUGGINGFACE|KAGGLE|PG|POSTGRES|MYSQL|MONGO|REDIS|DATABASE|DB|SSH|GPG|NPM|PYPI|TWINE|UV|PIP"
    r"|CONDA|DOCKER|KUBE|VAULT|SLACK|TWILIO|STRIPE|SENTRY|JWT|SESSION)(_\w*)?"
    r"|(\w+_|PG)?(PASS|PASSWD|PASSWORD|PASSPHRASE|PWD)(_\w*)?",
)
"""Names of credentials that no operator LLM and no web search takes, unless they are among PROVIDER_VARIABLES."""
GOVERNED: Mapping[str, str] = {
    "policy.path": "files are read there",
    "data.path": "files are read there",
    "data.task": "its code is run",
    "objective.surrogate": "its code is run",
    "objective.advantage": "its code is run",
    "objective.credit.source": "its code is run",
    "environment.perturbations.train": "their code is run",
    "environment.perturbations.eval": "their code is run",
    "environment.backend.base_url": "requests are sent there",
    "environment.backend.key_variable": "its value is sent to the service",
    "environment.backend.model": "a model is loaded from there",
    "environment.backend.cache": "a file is written there",
    "environment.search.retriever.url": "requests are sent there",
    "environment.search.retriever.key_variable": "its value is sent to the service",
}
"""Settings that a target cannot choose, each with its effect. A test finds every other setting that takes free text."""
_UNSET = {
    "environment.backend.key_variable": DEFAULT_KEY_VARIABLE,
    "environment.search.retriever.key_variable": DEFAULT_SEARCH_VARIABLE,
}


def review(
    tree: Node, source: Source, shipped: Node, trust: bool, *, training: bool
) -> tuple[list[Problem], list[str]]:
    """Governed settings of `tree` that were read from a target's `source`: problems, and lines for those confirmed.

    `shipped` is the profile under the target: a value that it holds too is no choice of the target. With `trust` a
    setting is confirmed, except a variable that is none of PROVIDER_VARIABLES. `training`: the objective is used.
    """
    problems, confirmed = [], []
    for name, node in _chosen(tree, source, shipped).items():
        if name.startswith("objective.") and not training:
            continue
        effect = GOVERNED[name]
        if trust and name.endswith("key_variable") and node.value not in _of_providers():
            message = f"{name}: ${node.value} is no provider's key; --trust does not cover it"
            problems.append(Problem(node.at, message, f"to send it: {name}={node.value}, or {EXTENSION}={node.value}"))
        elif trust:
            confirmed.append(f"--trust: {name} is {node.value!r}, named by {source.name}: {effect}")
        else:
            message = f"{name} is {node.value!r}: {effect}, and a target does not choose that"
            problems.append(Problem(node.at, message, f"give {name}=… yourself; --trust uses what the target names"))
    return problems, confirmed


def _chosen(tree: Node, source: Source, shipped: Node) -> dict[str, Node]:
    """Governed settings with a value of the target's own."""
    found = {}
    for name in GOVERNED:
        node, known = find(tree, name), find(shipped, name)
        if node is None or node.value is None or node.at.source is not source or node.value == _UNSET.get(name):
            continue
        kind = find(tree, f"{name.rpartition('.')[0]}.kind")
        if name == "environment.backend.model" and kind is not None and kind.value == "openai":
            continue  # a word in the request's body
        if name.startswith("objective.") and not (isinstance(node.value, str) and names_function(node.value)):
            continue  # one of the registered
        if name.startswith("environment.perturbations."):
            node = Node(own_parts(map(str, plain(node))) if isinstance(node.value, list) else [], node.at, node.key_at)
            if not node.value:
                continue  # registered ones alone
        if known is None or known.value != node.value:
            found[name] = node
    return found


def variables_are_keys(tree: Node) -> list[Problem]:
    """A file names no variable of another service's credentials as a key; the command line may."""
    problems = []
    for name in _UNSET:
        node = find(tree, name)
        if node is None or not isinstance(node.value, str) or node.at.source.name == COMMAND_LINE:
            continue
        if _OTHER_SERVICES.fullmatch(node.value) and node.value not in _of_providers():
            hint = f"to send it all the same: {name}={node.value} on the command line, or {EXTENSION}={node.value}"
            problems.append(Problem(node.at, f"{name}: ${node.value} is a credential of another service", hint))
    return problems


def _of_providers() -> frozenset[str]:
    return PROVIDER_VARIABLES | {name.strip() for name in os.environ.get(EXTENSION, "").split(",")}


def service_lines(environment: EnvironmentSettings) -> list[str]:
    """One line for each service that an environment sends requests to: model, host, variable of the key."""
    lines = []
    match environment.backend:
        case EndpointBackend() as b:
            lines.append(f"operator LLM: {b.model} at {_host(b.base_url)}, {_key(b.key_variable)}")
        case LocalBackend() as b:
            lines.append(f"operator LLM: {b.model}, in this process")
    match environment.search.retriever:
        case SearchR1Settings() as r:
            lines.append(f"retriever: {_host(r.url)}, no key")
        case WebSearchSettings() as r:
            lines.append(f"retriever: {_host(r.url)}, {_key(r.key_variable)}")
    return lines


def _host(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _key(variable: str) -> str:
    return f"key ${variable}" + ("" if os.environ.get(variable, "").strip() else " (not set)")
