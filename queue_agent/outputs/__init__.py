"""What happens to artifacts between their run and the bucket; it uses no GPU."""

from queue_agent.outputs.convert import Conversion, ConversionPolicy
from queue_agent.outputs.description import Description, describe
from queue_agent.outputs.stage import Order, OutputStage, OutputStep, Product, Variant
from queue_agent.outputs.workers import WorkerLost, WorkerProcesses, Workers

__all__ = [
    "Conversion",
    "ConversionPolicy",
    "Description",
    "Order",
    "OutputStage",
    "OutputStep",
    "Product",
    "Variant",
    "WorkerLost",
    "WorkerProcesses",
    "Workers",
    "describe",
]
