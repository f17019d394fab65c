"""An AWS account in memory (moto), in which template.yaml is deployed and its state machine runs.

In, as JSON on standard input: the folder with template.yaml and its packages, the stack's parameters, where the function
answers (`invoke_url` takes an event by POST), the executions to start, and the times of the ticks that the function gets,
a second apart; with `pace` so many seconds of theirs pass in one, for waits too, and they end when nothing is left to do. Out, as JSON on standard output: the stack's resources, how each execution ended, what each tick was
answered, and when each execution that the function started ran. The account's S3 and Step Functions listen on `port` while
this runs.
"""

import json
import os
import re
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request
from datetime import datetime

import boto3
from awscli.customizations.cloudformation.yamlhelper import yaml_parse
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.server import ThreadedMotoServer
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction

REGION = "eu-central-1"
LONGEST_EXECUTION_SECONDS = 120


def call_program(invoke_url):
    """What stands in for Lambda: the event goes to the program, its answer or error comes back."""

    def invoke(self, function_name, qualifier, body, headers, response_headers):
        request = urllib.request.Request(invoke_url, data=(body or "{}").encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            response_headers["x-amz-function-error"] = "Unhandled"
            return error.read()

    return invoke


def package(folder, endpoint):
    """The template after `aws cloudformation package`, run as an operator runs it."""
    aws = os.path.join(os.path.dirname(sys.executable), "aws")
    packaged = os.path.join(folder, "packaged.yaml")
    subprocess.run(
        [aws, "cloudformation", "package", "--template-file", "template.yaml", "--s3-bucket", "packages"]
        + ["--output-template-file", packaged],
        cwd=folder,
        env={**os.environ, "AWS_ENDPOINT_URL": endpoint},
        stdout=sys.stderr,
        check=True,
    )
    with open(packaged, encoding="utf-8") as file:
        return file.read()


def deploy(template, parameters):
    """Creates the stack and returns its resources: logical name -> type and physical id."""
    cloudformation = boto3.client("cloudformation", REGION)
    cloudformation.create_stack(
        StackName="couchdb-backup",
        TemplateBody=template,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName="couchdb-backup")
    summaries = [summary for page in pages for summary in page["StackResourceSummaries"]]
    return {one["LogicalResourceId"]: {"type": one["ResourceType"], "id": one["PhysicalResourceId"]} for one in summaries}


def describe(resources):
    """What the services themselves say of the resources that let the schedule call the function."""
    function = resources["Function"]["id"]
    lambda_, events, iam = (boto3.client(name, REGION) for name in ("lambda", "events", "iam"))
    role = resources["FunctionRole"]["id"]
    policies = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return {
        "function": lambda_.get_function_configuration(FunctionName=function),
        "permission": json.loads(lambda_.get_policy(FunctionName=function)["Policy"]),
        "rule": events.describe_rule(Name=resources["Ticks"]["id"]),
        "targets": events.list_targets_by_rule(Rule=resources["Ticks"]["id"])["Targets"],
        "mail": events.list_targets_by_rule(Rule=resources["RunEnds"]["id"])["Targets"] if "RunEnds" in resources else [],
        "policy": iam.get_role_policy(RoleName=role, PolicyName=policies[0])["PolicyDocument"],
    }


def quicken(pace):
    """Makes the machine's waits, and those before a retry, shorter."""
    pause = time.sleep
    WaitFunction._wait_interval = lambda self, env, wait_seconds: pause(wait_seconds / pace)
    retrier_decl.time = types.SimpleNamespace(sleep=lambda seconds: pause(seconds / pace))


def create_machine(template, resources, parameters, pace, kind=""):
    """A state machine of the stack, made a second time: moto's stacks take no `Definition`, only text."""
    properties = yaml_parse(template)["Resources"][kind + "Machine" if kind else "StateMachine"]["Properties"]
    function, role = resources[kind + "Function"]["id"], resources[(kind or "State") + "MachineRole"]["id"]
    given = set(properties["DefinitionSubstitutions"])
    values = {
        "InvokeFunction": "arn:aws:states:::lambda:invoke",
        "GetObject": "arn:aws:states:::s3:getObject",
        "PutObject": "arn:aws:states:::s3:putObject",
        "FunctionArn": boto3.client("lambda", REGION).get_function_configuration(FunctionName=function)["FunctionArn"],
        "BucketName": parameters["BucketName"],
        "ResultsPrefix": parameters["BucketFolder"] + "/_state_machine",
    }
    assert set(values) == given or kind and set(values) >= given
    definition = json.dumps(properties["Definition"])
    if pace is None:  # Waits are real here.
        definition = re.sub(r'"(IntervalSeconds|BackoffRate)": \d+', r'"\1": 1', definition)
    for name, value in values.items():
        definition = definition.replace("${" + name + "}", value)
    created = boto3.client("stepfunctions", REGION).create_state_machine(
        name="couchdb-backup" + ("-" + kind.lower() if kind else ""),
        definition=definition,
        roleArn=boto3.client("iam", REGION).get_role(RoleName=role)["Role"]["Arn"],
        type=properties["StateMachineType"],
    )
    return created["stateMachineArn"]


def execute(machine, execution):
    """Runs the state machine once and returns how that ended."""
    states = boto3.client("stepfunctions", REGION)
    started = states.start_execution(
        stateMachineArn=machine, name=execution["name"], input=json.dumps(execution["input"])
    )
    for _ in range(LONGEST_EXECUTION_SECONDS * 10):
        ended = states.describe_execution(executionArn=started["executionArn"])
        if ended["status"] != "RUNNING":
            return {key: ended.get(key) for key in ("name", "status", "output", "error", "cause")}
        time.sleep(0.1)
    return {"name": execution["name"], "status": "STILL RUNNING"}


def send_ticks(invoke_url, times, pace, machine):
    """The schedule's events, a second apart or at their pace; a tick that fails has its error as answer."""
    answers = []
    first, began = datetime.fromisoformat(times[0]) if times else None, time.monotonic()
    for time_of_event in times:
        if pace is not None:
            due = began + (datetime.fromisoformat(time_of_event) - first).total_seconds() / pace
            time.sleep(max(0, due - time.monotonic()))
        event = {"source": "aws.events", "time": time_of_event}
        request = urllib.request.Request(invoke_url, data=json.dumps(event).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answers.append(json.load(response))
        except urllib.error.HTTPError as error:
            answers.append(json.load(error))
        if pace is None:
            time.sleep(1)
        elif answers[-1].get("started") == [] and "waiting" not in answers[-1] and not is_running(machine):
            break
    return answers


def is_running(machine):
    return boto3.client("stepfunctions", REGION).list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]


def list_runs(machine):
    """Every execution, once none is running, with its first and last second."""
    states = boto3.client("stepfunctions", REGION)
    for _ in range(LONGEST_EXECUTION_SECONDS * 10):
        runs = states.list_executions(stateMachineArn=machine)["executions"]
        if all(run["status"] != "RUNNING" for run in runs):
            break
        time.sleep(0.1)
    described = [states.describe_execution(executionArn=run["executionArn"]) for run in runs]
    return [
        {
            **{key: run.get(key) for key in ("name", "status", "error", "cause")},
            "began": run["startDate"].timestamp(),
            "ended": run["stopDate"].timestamp(),
        }
        for run in described
    ]


@mock_aws(config={"lambda": {"use_docker": False}, "stepfunctions": {"execute_state_machine": True}})
def main():
    task = json.load(sys.stdin)
    LambdaSimpleBackend.invoke = call_program(task["invoke_url"])
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=task["port"], verbose=False)
    server.start()
    try:
        s3 = boto3.client("s3", REGION)
        for bucket in ("packages", *task["buckets"]):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        template = package(task["folder"], f"http://127.0.0.1:{task['port']}")
        resources = deploy(template, task["parameters"])
        pace = task.get("pace")
        if pace is not None:
            quicken(pace)
        machine = create_machine(template, resources, task["parameters"], pace)
        restores = None
        if "RestoreMachine" in resources:
            restores = create_machine(template, resources, task["parameters"], pace, "Restore")
        executions = [execute(restores if one.get("restores") else machine, one) for one in task["executions"]]
        ticks = send_ticks(task["invoke_url"], task["ticks"], pace, machine)
        json.dump(
            {
                "resources": resources,
                "executions": executions,
                "ticks": ticks,
                "runs": list_runs(machine),
                **describe(resources),
            },
            sys.stdout,
            default=str,
        )
    finally:
        server.stop()


main()
