"""Asks a running service through the client that was generated from its OpenAPI document, which a test lays beside.

The test checks these types with mypy, and runs this with the service's address.
"""

import sys

from generated.api.explanations import explain
from generated.api.predictions import add, predict, reverse
from generated.client import Client
from generated.models.addition_explain_request import AdditionExplainRequest
from generated.models.addition_explain_response import AdditionExplainResponse
from generated.models.addition_request import AdditionRequest
from generated.models.addition_response import AdditionResponse
from generated.models.problem import Problem
from generated.models.reversal_request import ReversalRequest
from generated.models.reversal_response import ReversalResponse


def ask(client: Client) -> None:
    summed = add.sync(client=client, body=AdditionRequest(expression="10+6"))
    assert isinstance(summed, AdditionResponse)
    assert (summed.sum_, summed.model.name) == (16, "addition")

    reversed_ = reverse.sync(client=client, body=ReversalRequest(sequence=[20, 36, 40, 10, 34, 28]))
    assert isinstance(reversed_, ReversalResponse)
    assert reversed_.reversed_ == [40, 36, 20]

    predicted = predict.sync("addition", client=client, body=AdditionRequest(expression="1+2+3"), version="1")
    assert isinstance(predicted, AdditionResponse)
    assert predicted.decoded == "6"

    explained = explain.sync("addition", client=client, body=AdditionExplainRequest(expression="10+6"))
    assert isinstance(explained, AdditionExplainResponse)
    assert "".join(step.symbol for step in explained.steps).strip() == "16"

    refused = add.sync_detailed(client=client, body=AdditionRequest(expression="10++6"))
    assert refused.status_code == 422
    assert isinstance(refused.parsed, Problem)
    assert refused.parsed.type_ == "/problems/invalid-body"
    assert refused.parsed.errors
    assert refused.parsed.errors[0].position == 3


if __name__ == "__main__":
    with Client(base_url=sys.argv[1], raise_on_unexpected_status=True) as client:
        ask(client)
