"""What a job may cost."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from loopwright.api.base import ApiModel, Cel

Amount = Annotated[str, Field(max_length=19, pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")]
"""A decimal number as text."""
_LIMITED: Final = Cel(
    "has(self.maxCost) || has(self.maxGpuHours)", "set maxCost, maxGpuHours or both"
)


class Budget(ApiModel):
    """What all attempts together may cost."""

    cel: ClassVar[tuple[Cel, ...]] = (_LIMITED,)

    max_cost: Amount | None = None
    """In the currency of the operator's price table. Without a table it limits nothing, and the
    condition BudgetExceeded is Unknown."""
    max_gpu_hours: Amount | None = None
    """GPUs times hours with a running cluster."""
    action: Literal["Suspend", "Stop"] = "Suspend"
    """Suspend: free all resources; a raised budget lets the job go on where it was. Stop: the job
    has failed."""

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.max_cost is None and self.max_gpu_hours is None:
            raise ValueError(_LIMITED.message)
        return self
