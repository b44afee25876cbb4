# SPDX-License-Identifier: Apache-2.0
# Spack 1.0 and up: spack repo create DIR site; spack repo add DIR/spack_repo/site; copy this folder
# to DIR/spack_repo/site/packages/antiphon, have antiphon-VERSION.tar.gz (made by `make dist`) in the
# current folder, then: spack install --no-checksum antiphon
import os

from spack_repo.builtin.build_systems.autotools import AutotoolsPackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *


class Antiphon(AutotoolsPackage, CudaPackage):
    """Offline LLM inference on HPC clusters: started by srun, prompts and results in HDF5."""

    manual_download = True
    url = f"file://{os.getcwd()}/antiphon-0.1.0.tar.gz"

    license("Apache-2.0", checked_by="antiphon")

    version("0.1.0")

    variant("mpi", default=True, description="Any number of processes: parallel HDF5, PMIx, UCX")
    variant("nccl", default=False, description="Replicas over several GPUs", when="+cuda")

    depends_on("c", type="build")
    depends_on("cxx", type="build", when="+cuda")
    depends_on("pkgconfig", type="build")

    depends_on("jansson")
    depends_on("pcre2")
    depends_on("utf8proc")
    depends_on("xxhash")
    depends_on("hdf5@1.10: +mpi", when="+mpi")
    depends_on("hdf5@1.10: ~mpi", when="~mpi")
    depends_on("mpi", when="+mpi")
    depends_on("pmix@4:", when="+mpi")
    depends_on("ucx@1.13:", when="+mpi")
    depends_on("cuda@12:", when="+cuda")
    depends_on("nccl", when="+nccl")
    for arch in CudaPackage.cuda_arch_values:
        depends_on(f"nccl cuda_arch={arch}", when=f"+nccl cuda_arch={arch}")

    conflicts("cuda_arch=none", when="+cuda", msg="say which: cuda_arch=80,90a")

    def configure_args(self):
        args = [f"--with-hdf5={self.spec['hdf5'].prefix}"]
        args += self.with_or_without("mpi")
        for name in ("pmix", "ucx"):
            has = self.spec.satisfies("+mpi")
            args.append(f"--with-{name}={self.spec[name].prefix}" if has else f"--without-{name}")
        for name in ("cuda", "nccl"):
            has = self.spec.satisfies(f"+{name}")
            args.append(f"--with-{name}={self.spec[name].prefix}" if has else f"--without-{name}")
        if self.spec.satisfies("+cuda"):
            args.append("--with-cuda-arch=" + " ".join(self.spec.variants["cuda_arch"].value))
        return args
