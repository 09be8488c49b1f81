"""Publishes payout requests with Confluent's Python client and its Avro serializer: nothing in it is Signalbox's.

Without a file it asks for one payout to an invented beneficiary. With a file, each line is one request as JSON with
the fields of payments.payout.v2.RequestPayout. For each record it prints one line of JSON: where Kafka has put it.
It does not wait for the outcome: `signalbox tail` and `signalbox flow show PAYOUT_ID` show that.
"""

import argparse
import datetime
import json
import sys
import uuid

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "payments.payout.commands.v1"
RECORD = "payments.payout.v2.RequestPayout"


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def example():
    """A request with every field that a payout needs."""

    def person(given, family, street, town, region, post_code):
        return {
            "kind": "person",
            "name": f"{given} {family}",
            "given_name": given,
            "family_name": family,
            "birth_date": datetime.date(1990, 4, 15),
            "address": {
                "street": street,
                "building": "12",
                "post_code": post_code,
                "town": town,
                "region": region,
                "country": "US",
            },
        }

    return {
        "payout_id": f"python-{uuid.uuid4()}",  # also the idempotency key: send the same again, it is paid once
        "tenant": "default",
        "customer_id": "customer-1",
        "amount": {"minor_units": 12_500, "currency": "USD", "exponent": 2},
        "originator": person("Ada", "Alder", "Main Street", "Springfield", "IL", "62701"),
        "beneficiary": {
            "party": person("Ben", "Birch", "Oak Avenue", "Portland", "OR", "97201"),
            "account": {
                "scheme": "aba",
                "iban": None,
                "routing_number": "021000021",
                "account_number": "9876543210",
                "bic": None,
            },
        },
        "rail": "ach",
        "remittance": {"structured_reference": None, "unstructured": "Invoice 42"},
        "segment": "personal",
        "requested_at": now(),
    }


def headers(request):
    """CloudEvents in Kafka's binary mode."""
    return {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid4()),
        "ce_source": "/example/python",
        "ce_type": RECORD,
        "ce_time": now().isoformat(),
        "ce_subject": request["payout_id"],
        "content-type": "application/avro",
    }


def serializer(registry_url):
    """Serializes with the schema that is registered: services look schemas up, they never register them."""
    registry = SchemaRegistryClient({"url": registry_url})
    registered = registry.get_latest_version(f"{TOPIC}-{RECORD}")
    return AvroSerializer(
        registry,
        registered.schema.schema_str,
        conf={
            "auto.register.schemas": False,
            "use.latest.version": True,
            "subject.name.strategy": topic_record_subject_name_strategy,
        },
    )


def publish(requests, brokers, registry_url):
    serialize = serializer(registry_url)
    failures = []

    def delivered(error, message):
        if error is not None:
            failures.append(str(error))
            return
        place = {"payout_id": message.key().decode(), "partition": message.partition(), "offset": message.offset()}
        print(json.dumps(place), flush=True)

    # acks=all comes with idempotence. The default partitioner will do: a record that arrives at another lane than its
    # key's is forwarded there. With "partitioner": "murmur2_random" it arrives at home, as it does from Java.
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True})
    for request in requests:
        value = serialize(request, SerializationContext(TOPIC, MessageField.VALUE))
        producer.produce(
            TOPIC, key=request["payout_id"], value=value, headers=headers(request), on_delivery=delivered
        )
        producer.poll(0)
    if producer.flush(30) > 0 or failures:
        sys.exit(f"not delivered: {failures or 'no answer within 30 s'}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--brokers", required=True, help="Kafka's bootstrap servers, as HOST:PORT")
    arguments.add_argument("--registry", required=True, help="URL of the registry's Confluent API")
    arguments.add_argument("file", nargs="?", help="requests as lines of JSON")
    given = arguments.parse_args()
    if given.file:
        with open(given.file, encoding="utf-8") as lines:
            requests = [json.loads(line) for line in lines if line.strip()]
    else:
        requests = [example()]
    publish(requests, given.brokers, given.registry)


if __name__ == "__main__":
    main()
