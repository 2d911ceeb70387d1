"""The whole service on this machine: local cloud, deployed stack and supplier simulator."""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from pydantic import BaseModel, ValidationError

from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.executions import Executions
from giftcards.adapters.order_table import OrderTable
from giftcards.use_cases.sweep_orders import OrderSweep
from giftcards_local import DEFAULT_FULFIL_AFTER_SECONDS
from giftcards_local.cloud import LocalCloud
from giftcards_local.environment import is_on_this_machine, local_environment, shell_lines
from giftcards_local.processes import LocalError, Process, free_port, start
from giftcards_local.supplier import SANDBOX_API_KEY
from giftcards_local.webhooks import WebhookCloud


class ServiceState(BaseModel):
    """What is running; saved between commands.

    Attributes
    ----------
    reaches_out
        Whether the cloud runs with the user's proxy and certificates.
    """

    cloud: Process | None = None
    supplier: Process | None = None
    supplier_url: str = ""
    relay: Process | None = None
    reaches_out: bool = False


class LocalService:
    """The service, with all its files in one folder. Orders and state survive ``down`` and ``up``.

    Parameters
    ----------
    say
        Called with one line for each step of ``up``.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder
        self._say = say
        self._state_file = folder / "service.json"
        self.state = self._load()

    @property
    def cloud(self) -> LocalCloud:
        return LocalCloud(self.folder / "cloud", self.state.cloud)

    @property
    def is_running(self) -> bool:
        """Whether the local cloud is running."""
        return self.state.cloud is not None and self.state.cloud.is_running

    @property
    def environment_file(self) -> Path:
        """File for the shell's ``source``: points AWS programs at the local cloud, and has what a shop needs."""
        return self.folder / "env"

    def up(
        self,
        *,
        supplier_url: str | None = None,
        api_key: str | None = None,
        fulfil_after_seconds: float = DEFAULT_FULFIL_AFTER_SECONDS,
        webhook_url: str | None = None,
        parameters: dict[str, str] | None = None,
    ) -> None:
        """Start what is not running, then build and deploy the current template.

        Parameters
        ----------
        supplier_url
            A real supplier. None: the simulator.
        api_key
            The supplier's key. None: the simulator's, or unchanged for a real supplier. Without a key, orders wait.
        fulfil_after_seconds
            Seconds after which the simulator fulfils an order.
        webhook_url
            A program on this machine that gets every event. None: none.
        parameters
            Additional stack parameters.

        Raises
        ------
        LocalError
            If a process does not start, or the deployment fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # it contains the API key and the encryption keys of the cards
        reaches_out = supplier_url is not None and not is_on_this_machine(supplier_url)
        if self.is_running and self.state.reaches_out != reaches_out:
            self.cloud.stop()  # a running process keeps its environment variables
        if not self.is_running:
            self._say("Starting the local cloud")
            cloud = self.cloud
            last_port = self.state.cloud.port if self.state.cloud else None
            started = cloud.start(preferred_port=last_port, reaches_out=reaches_out)
            self._remember(cloud=started, reaches_out=reaches_out)
        if supplier_url is None:
            self._start_supplier(fulfil_after_seconds)
            supplier_url, api_key = self._supplier.url, api_key or SANDBOX_API_KEY
        else:
            self._stop_supplier()
        self._remember(supplier_url=supplier_url)
        if api_key not in {None, SANDBOX_API_KEY} and self.cloud.has_stack():
            self.cloud.set_api_key(str(api_key))  # before the functions call a real supplier, which counts wrong keys
        self._say("Building and deploying the template")
        webhook = {"WebhookUrl": webhook_url or "none"}  # sam keeps the previous value of a parameter that is not set
        self.cloud.deploy({"SupplierBaseUrl": supplier_url, **webhook, **(parameters or {})})
        self._stop_relay()
        if webhook_url is not None:
            self._start_relay(webhook_url)
        variables = self.cloud.environment | {"SUPPLIER_URL": supplier_url} | self.cloud.shop_variables()
        self.environment_file.write_text(shell_lines(variables), encoding="utf-8")
        if api_key is not None:
            self.cloud.set_api_key(api_key)
        self._resume_orders()

    def down(self) -> bool:
        """Stop everything and keep all files. Return whether the local cloud was running."""
        was_running = self.is_running
        self._stop_relay()  # it puts what waits into the dead-letter queue
        self._stop_supplier()
        if self.state.cloud is not None:
            self.cloud.stop()
        return was_running

    def wipe(self) -> None:
        """Stop everything and delete all files."""
        self.down()
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)
        self.state = ServiceState()

    @property
    def _supplier(self) -> Process:
        if self.state.supplier is None:
            raise LocalError("the supplier simulator is not running; start it with `giftcards local up`")
        return self.state.supplier

    def _start_supplier(self, fulfil_after_seconds: float) -> None:
        self._stop_supplier()
        self._say("Starting the supplier simulator")
        port = free_port(self.state.supplier.port if self.state.supplier else None)
        command = [sys.executable, "-P", "-m", "giftcards_cli", "local", "supplier", "--port", str(port)]
        command += ["--fulfil-after", str(fulfil_after_seconds), "--state-file", str(self.folder / "supplier.json")]
        started = start(
            command,
            port=port,
            log=self.folder / "supplier.log",
            environment=local_environment(os.environ),
            ready=lambda: _answers(port),
        )
        self._remember(supplier=started)

    def _stop_supplier(self) -> None:
        if self.state.supplier is not None and self.state.supplier.is_running:
            self.state.supplier.stop()

    def _start_relay(self, webhook_url: str) -> None:
        self._say("Starting the webhook's relay")
        port = free_port(self.state.relay.port if self.state.relay else None)
        command = [sys.executable, "-P", "-m", "giftcards_cli", "local", "relay", "--port", str(port)]
        relay = start(
            [*command, "--to", webhook_url, "--cloud-url", self.cloud.url],
            port=port,
            log=self.folder / "relay.log",
            environment=local_environment(os.environ),
            ready=lambda: _answers(port),
        )
        self._remember(relay=relay)
        WebhookCloud(self.cloud.client, self.cloud.outputs()).connect(relay.url)

    def _stop_relay(self) -> None:
        if self.state.relay is not None and self.state.relay.is_running:
            self.state.relay.stop()

    def _resume_orders(self) -> None:
        """Run SweepOrders now, without its minimum interval: executions end when the cloud stops."""
        cloud, outputs = self.cloud, self.cloud.outputs()
        sweep = OrderSweep(
            orders=OrderTable(outputs["CardTableName"], cloud.dynamodb()),
            executions=Executions(cloud.client("stepfunctions")),
            bus=EventBus(outputs["OrderBusName"], cloud.client("events")),
            once_in=timedelta(0),
        )
        sweep.sweep(now=datetime.now(UTC)).raise_for_failures()

    def _load(self) -> ServiceState:
        try:
            return ServiceState.model_validate_json(self._state_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return ServiceState()

    def _remember(self, **changes: Process | str | bool) -> None:
        self.state = self.state.model_copy(update=changes)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._state_file.write_text(self.state.model_dump_json(), encoding="utf-8")


def _answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return True
