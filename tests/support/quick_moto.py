"""Shortcuts through botocore and moto: the same requests, the same tables, without the HTTP between them.

Most of the time of a test that uses moto goes into HTTP that nobody sees: signing, headers, finding the service by its
address, and a response that is serialized by a generic walk. For calls that read or write DynamoDB items, botocore's
validated request goes to moto's handler directly, and the handler's result to botocore's parser.
"""

import base64
import copy
import json
import logging
from collections.abc import Mapping
from typing import Any

import botocore.handlers
from botocore.awsrequest import AWSResponse
from botocore.model import OperationModel
from botocore.parsers import create_parser
from moto.core import DEFAULT_ACCOUNT_ID, models
from moto.core.exceptions import HTTPException, ServiceException
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores, get_service_model
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.responses import DynamoHandler

ITEM_OPERATIONS = frozenset(
    {
        *("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan"),
        *("BatchGetItem", "BatchWriteItem", "TransactGetItems", "TransactWriteItems"),
    }
)
_botocore = logging.getLogger("botocore")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


class _Direct(DynamoHandler):
    def __init__(self, headers: Mapping[str, str], region: str, params: dict[str, Any]) -> None:
        super().__init__()
        self.headers, self.region, self.current_account = headers, region, DEFAULT_ACCOUNT_ID
        self.querystring: dict[str, Any] = {}
        self.response_headers: dict[str, str] = {}
        self.params = self.body = params

    def call(self, operation: str) -> tuple[int, Mapping[str, Any], str | bytes]:
        try:
            result = getattr(self, camelcase_to_underscores(operation))()
        except ServiceException as error:
            status, headers, body = self.serialized(ActionResult(error))
            return status, headers, body
        except HTTPException as error:
            return error.code, dict(error.get_headers()), error.get_body()
        assert isinstance(result, ActionResult)
        return 200, {}, json.dumps(result.result, default=_base64)


def _call_directly(
    model: OperationModel, params: dict[str, Any], context: dict[str, Any], **_: object
) -> tuple[AWSResponse, dict[str, Any]] | None:
    is_logged = _botocore.isEnabledFor(logging.DEBUG)  # a test may search what botocore logs of HTTP
    if not models.botocore_stubber.enabled or model.name not in ITEM_OPERATIONS or is_logged:
        return None
    moto_model = get_service_model("dynamodb").operation_model(model.name)
    parse = PROTOCOL_PARSERS["json"](moto_model, map_type=dict).parse
    request = parse({"method": "POST", "values": {}, "headers": {}, "url_path": "/", "url_params": {}, **params})
    status, headers, body = _Direct(params["headers"], context["client_region"], request).call(model.name)
    headers = {"x-amzn-requestid": "request-1"} | dict(headers)
    response = {"status_code": status, "headers": headers, "body": body.encode() if isinstance(body, str) else body}
    parser = create_parser("json")
    parsed = parser.parse(response, model.output_shape)
    error = model.service_model.shape_for_error_code(parsed["Error"]["Code"]) if "Error" in parsed else None
    if error is not None:
        parsed |= parser.parse(response, error)
    return AWSResponse(params["url"], status, headers, None), parsed


def create_table(name: str, properties: Mapping[str, Any], region: str) -> None:
    """Create a table with its properties in the template."""
    dynamodb_backends[DEFAULT_ACCOUNT_ID][region].create_table(
        name,
        schema=properties["KeySchema"],
        throughput=None,
        attr=properties["AttributeDefinitions"],
        global_indexes=copy.deepcopy(properties.get("GlobalSecondaryIndexes", [])),
        indexes=[],
        streams=None,
        billing_mode=properties["BillingMode"],
        sse_specification=None,
        tags=[],
        deletion_protection_enabled=False,
        warm_throughput=None,
    )


def install() -> None:
    """Use the shortcuts in all clients that are built from now on."""
    botocore.handlers.BUILTIN_HANDLERS.append(("before-call.dynamodb", _call_directly))
