"""Shows what `launch=slurm` would submit (`launch.dry_run=true`)."""

import sys
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

OF_PLUGIN = ("_target_", "submitit_folder", "max_num_timeout")  # keys of hydra.launcher that sbatch does not see


class DryRun(Callback):
    """Prints the sbatch script and ends, before anything is submitted, where `launch.dry_run` says so."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra. It turns an exception into a warning and goes on to submit, so that none may pass."""
        if not config.launch.dry_run:
            return
        try:
            script = sbatch_script(config.hydra.launcher, count_jobs(config))
        except Exception as error:
            raise SystemExit(f"launch.dry_run: the script cannot be made ({error}); nothing was submitted") from error
        sys.stdout.write(script)
        raise SystemExit(0)


def count_jobs(config: DictConfig) -> int:
    """Returns how many jobs the overrides and `hydra.sweeper.params` make."""
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*params, *config.hydra.overrides.task])
    return len(BasicSweeper.split_arguments(overrides, None)[0])


def sbatch_script(launcher: DictConfig, jobs: int) -> str:
    """Returns the script that the launcher plugin would hand to sbatch.

    Args:
        launcher: the composed `hydra.launcher`.
        jobs: of the sweep; several are one array.
    """
    from submitit import AutoExecutor
    from submitit.slurm.slurm import SlurmExecutor

    class Sketch(SlurmExecutor):
        """Writes scripts where there is no srun."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    plain: dict[str, Any] = OmegaConf.to_container(launcher, resolve=True)  # type: ignore[assignment]
    given = {key: value for key, value in plain.items() if value is not None and key not in OF_PLUGIN}
    generic = AutoExecutor._valid_parameters()
    executor = Sketch(plain["submitit_folder"], max_num_timeout=plain["max_num_timeout"])
    parameters = executor._convert_parameters({key: value for key, value in given.items() if key in generic})
    executor._internal_update_parameters(
        **parameters, **{key: value for key, value in given.items() if key not in generic}
    )
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    return executor._make_submission_file_text(executor._submitit_command_str, "")
