"""Reads the public topics as a system outside would: stock clients, the address of the brokers and of a schema registry.

Prints one JSON object a record. Every value is decoded twice, by confluent-kafka's deserialiser, which asks the registry itself,
and by fastavro with the schema that the registry shows under the id in front of the value; a difference ends the program.
"""

import argparse
import io
import json
import struct
import sys
import time

import fastavro
from confluent_kafka import Consumer, KafkaError
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

MAGIC = 0
FRAME = struct.Struct(">bI")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--registry", required=True, help="schema.registry.url")
    parser.add_argument("--group", required=True)
    parser.add_argument("--topic", action="append", required=True, metavar="NAME=COUNT", help="how many records to wait for")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    return parser.parse_args()


def by_fastavro(registry, schemas, value):
    magic, schema_id = FRAME.unpack_from(value)
    if magic != MAGIC:
        raise ValueError("no schema id in front of the value")
    if schema_id not in schemas:
        schemas[schema_id] = fastavro.parse_schema(json.loads(registry.get_schema(schema_id).schema_str))
    body = io.BytesIO(value[FRAME.size :])
    record = fastavro.schemaless_reader(body, schemas[schema_id], None)
    if body.read():
        raise ValueError("bytes after the value")
    return schema_id, record


def main():
    options = arguments()
    missing = {name: int(count) for name, count in (topic.split("=") for topic in options.topic)}
    registry = SchemaRegistryClient({"url": options.registry})
    deserialiser = AvroDeserializer(registry)
    consumer = Consumer(
        {
            "bootstrap.servers": options.brokers,
            "group.id": options.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(list(missing))
    schemas = {}
    end = time.monotonic() + options.timeout
    try:
        while any(count > 0 for count in missing.values()):
            if time.monotonic() > end:
                print(f"still missing: {missing}", file=sys.stderr)
                return 1
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF or message.error().retriable():
                    continue
                print(message.error(), file=sys.stderr)
                return 1
            topic = message.topic()
            record = deserialiser(message.value(), SerializationContext(topic, MessageField.VALUE))
            schema_id, again = by_fastavro(registry, schemas, message.value())
            if record != again:
                print(f"two readings of {topic} differ", file=sys.stderr)
                return 1
            headers = {name: value.decode() for name, value in message.headers() or []}
            shown = {"topic": topic, "key": message.key().decode(), "headers": headers, "schema_id": schema_id, "value": record}
            print(json.dumps(shown, default=str))
            missing[topic] -= 1
    finally:
        consumer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
