"""The doors: what HTTP, queues and schedules see."""
