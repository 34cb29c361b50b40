"""GPUs that a machine does not have."""

from pathlib import Path


def driver(folder: Path, sizes: str) -> Path:
    """A folder with NVIDIA's tool, which reports GPUs with so many MiB free; a word each."""
    tool = folder / "nvidia-smi"
    tool.write_text(
        f"""#!/bin/sh
set -- "$1" "${{4:-none}}" {sizes}
case "$1,$2" in
*index,uuid,none) shift 2; n=0; for size; do echo "$n, GPU-8a1$n"; n=$((n + 1)); done ;;
*memory.free,*) n=${{2#GPU-8a1}}; shift $((2 + n)); echo "$1" ;;
--list-gpus,*) echo "  MIG 1g.10gb     Device  0: (UUID: MIG-41b3)" ;;
esac
"""
    )
    tool.chmod(0o755)
    return folder
