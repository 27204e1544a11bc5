"""A plausible study without any training, and a browser without a network."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from bequest.analyses.learning_curves import learning_curves
from bequest.analyses.mistakes import mistakes
from bequest.report.contents import Failure, Picture, Predicted, ReportInput

CLASSES = tuple("bird cat dog fish flower food fruit hand house insect tree vehicle".split())
NASTY = "</script><script>alert(1)</script>"


def _trajectory(generator, final, rate, epochs=20):
    epoch = np.arange(epochs + 1)
    course = final + (0.92 - final) * np.exp(-rate * epoch) + 0.012 * generator.standard_normal(epochs + 1)
    rows = []
    for split, errors in (("train", course * 0.75), ("validation", course), ("test", course[-1:] + 0.01)):
        for at, error in zip(epoch if split != "test" else [epochs], errors, strict=True):
            share = float(np.clip(error, 0, 1))
            rows.append({"epoch": int(at), "split": split, "error": share, "loss": 2.5 * share})
    return SimpleNamespace(metrics=pl.DataFrame(rows))


def _predictions(generator, names, classes, n=240):
    targets = np.arange(n) % classes
    hard = generator.random(n) < 0.25
    named = {}
    for name in names:
        error = 0.2 if name.startswith("finetune") else 0.36
        wrong = np.where(generator.random(n) < 0.6, hard, generator.random(n) < error)
        answers = np.where(wrong, (targets + generator.integers(1, classes, n)) % classes, targets)
        outputs = torch.nn.functional.one_hot(torch.tensor(answers), classes).float()
        named[name] = SimpleNamespace(outputs=outputs, targets=torch.tensor(targets))
    return named


def _predicted(target, given, classes, pixels):
    shares = {name: one.outputs.softmax(1).max(1) for name, one in given.items()}
    truth = next(iter(given.values())).targets.numpy()
    return Predicted(
        target,
        classes,
        truth,
        answers={name: one.indices.numpy() for name, one in shares.items()},
        confidence={name: one.values.double().numpy() for name, one in shares.items()},
        rows=np.arange(len(truth)) % len(pixels),
        pixels=pixels,
    )


def _picture(generator, size=48):
    y, x = np.mgrid[:size, :size] / size - 0.5
    colour = generator.integers(0, 255, 3)
    shape = (np.hypot(x * generator.uniform(1, 2), y * generator.uniform(1, 2)) < 0.42)[..., None]
    return np.where(shape, colour, 255).astype(np.uint8)


def make_report(*, targets=("line", "mono"), classes=CLASSES, failed=False, title="What do emoji models inherit?"):
    """A ReportInput like the demo's; learning curves and mistakes are measured, nothing is trained."""
    generator = np.random.default_rng(0)
    names = [f"{arm}/{replica}" for arm in ("finetune", "randinit") for replica in range(3)] + ["randinit/0b"]
    curves, missed, seen = [], [], []
    pixels = np.stack([_picture(generator) for _ in range(24)])
    for place, target in enumerate(targets):
        runs = {
            name: _trajectory(generator, *((0.2, 0.35) if name[0] == "f" else (0.3 - 0.05 * place, 0.16)))
            for name in names
        }
        tuned = {
            "tried": {"finetune": [0.01, 0.1, 1.0], "randinit": [0.01, 0.1, 1.0]},
            "chosen": {"finetune": 0.1, "randinit": 0.1},
        }
        curves.append(learning_curves(runs, chance=1 / 12, **tuned).rows.with_columns(target=pl.lit(target)))
        given = _predictions(generator, names, len(classes))
        seen.append(_predicted(target, given, classes, pixels))
        found = mistakes(given, classes=classes)
        missed.append(found.rows.with_columns(target=pl.lit(target)))
    runs = [
        {
            "name": name, "target": target, "arm": name.split("/")[0], "init_seed": 3 * place, "order_seed": place,
            "learning_rate": 0.03, "epochs": 20, "best_epoch": 17, "validation_error": 0.21 + 0.01 * place,
            "test_error": 0.22 + 0.01 * place, "seconds": 6.4,
            "status": "failed" if failed and place == 5 else "done",
            "message": "the loss became not a number in epoch 3" if failed and place == 5 else None,
        }
        for target in targets
        for place, name in enumerate(names)
    ]  # fmt: skip
    sweep = [
        {
            "target": target, "arm": arm, "learning_rate": rate, "error": 0.3 + 0.1 * abs(step - best),
            "chosen": step == best,
        }
        for target in targets
        for arm, best in (("finetune", 1), ("randinit", 2))
        for step, rate in enumerate((0.003, 0.01, 0.03, 0.1))
    ]  # fmt: skip
    pictures = tuple(
        Picture(domain, label, _picture(generator))
        for domain, label in itertools.product(("color (source)", *targets), classes)
    )
    return ReportInput(
        title=title,
        targets=tuple(targets),
        results={"learning_curves": pl.concat(curves), "mistakes": pl.concat(missed)},
        source="colour and flat emoji",
        asked={"title": title, "targets": list(targets), "arms": {"finetune": 3, "randinit": 3}},
        done={
            "runs": "15", "time": "6 min 12 s", "device": "cpu, 2 threads", "bequest": "0.1.0", "torch": "2.13.0",
            "python": "3.12.3", "git commit": "3f2a9c1 (clean)",
        },
        sweep=pl.DataFrame(sweep),
        runs=pl.DataFrame(runs),
        pictures=pictures,
        predictions=tuple(seen),
        attributions=("OpenMoji, CC BY-SA 4.0, openmoji.org.", "Noto Emoji, SIL Open Font License 1.1."),
        repeat=("pip install 'bequest[demo]'", "bequest run examples/emoji.yaml"),
        failures=(Failure("line/barrier", "the checkpoint has no tensor 'fc.weight'", "  File …\nKeyError: …"),)
        if failed
        else (),
    )  # fmt: skip


@pytest.fixture(scope="session")
def report_maker():
    return make_report


@pytest.fixture(scope="session")
def nasty():
    return NASTY


class Browser:
    """Chromium over a pipe, with every name of the network unknown to it."""

    def __init__(self, binary):
        down, up = os.pipe(), os.pipe()  # ours to theirs, theirs to ours
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        launch = f"import os, sys; os.dup2({down[0]}, 103); os.dup2({up[1]}, 104); os.dup2(103, 3); os.dup2(104, 4); "
        launch += "os.execvp(sys.argv[1], sys.argv[1:])"
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={self.profile.name}", "--remote-debugging-pipe",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", launch, binary, *options],
            pass_fds=(down[0], up[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down[0])
        os.close(up[1])
        self.to, self.from_ = os.fdopen(down[1], "wb", buffering=0), os.fdopen(up[0], "rb")
        self.number, self.buffer, self.events = 0, b"", []
        self.session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def receive(self):
        while b"\0" not in self.buffer:
            more = os.read(self.from_.fileno(), 1 << 20)
            assert more, "the browser closed the pipe"
            self.buffer += more
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def ask(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, path, *, width=1400, height=900, scheme="light"):
        """Load a file; gives what the console and the log said, with all that the page tried to fetch."""
        self.events = []
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.scheme(scheme)
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())
        self.settle()
        return self.said()

    def scheme(self, scheme):
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def settle(self):
        """Wait until the charts are drawn."""
        self.evaluate(
            "new Promise((done, failed) => { let left = 400; const look = () => "
            "document.documentElement.dataset.charts !== undefined ? done(1) : left-- ? setTimeout(look, 25) : "
            "failed(new Error('charts were not drawn in 10 s')); look(); })"
        )

    def said(self):
        said = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Log.entryAdded":
                said.append(params["entry"]["text"])
            elif event.get("method") == "Runtime.exceptionThrown":
                said.append(json.dumps(params["exceptionDetails"])[:500])
            elif event.get("method") == "Runtime.consoleAPICalled":
                said.append(json.dumps(params["args"])[:500])
        return said

    def fetched(self):
        requests = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in requests if not url.startswith("data:")]

    def evaluate(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path):
        """The whole page."""
        self.ask("Runtime.evaluate", expression="scrollTo(0, 0)")
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self.session = None
        self.ask("Browser.close")
        self.process.wait(20)
        self.to.close()
        self.from_.close()
        self.profile.cleanup()


@pytest.fixture(scope="session")
def browser():
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        pytest.skip("no chromium here; install it with: apt-get install chromium")
    opened = Browser(binary)
    yield opened
    opened.close()
