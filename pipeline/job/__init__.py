"""The walker of a plan: cache, repair, turns on a device, retries with less memory, progress, costs.

A job knows stages as values (`pipeline.stages.stage.Stage`) and nothing of what they compute.
What a single stage does belongs in `pipeline/stages`; what the command line says in `pipeline/commands`.
"""
