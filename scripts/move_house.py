"""Moves csrc to the target layout: git mv, includes, namespaces, CMake's lists. Run in the tree's root."""
import os, re, subprocess, sys, glob

M = {}
def mv(old, new):
    M[old] = new
for f in ["checks.cpp", "rule.cpp", "context_defaults.h", "scoped_default.h"]:
    mv(f, "core/" + f)
mv("derivatives/tolerances.h", "core/tolerances.h")
for f in ["interruptible.h", "interruptible.cpp", "lowest_index.h"]:
    mv("kernels/" + f, "core/" + f)
mv("autograd/caller_state.h", "core/caller_state.h")
mv("autograd/autocast.cpp", "ops/autocast.cpp")
mv("autograd/install.cpp", "ops/install.cpp")
for f in ["eigh.cpp", "eigh.h", "eigvalsh.cpp", "spectral_function.cpp", "spectral_function.h"]:
    b, e = f.split(".")
    mv("autograd/" + f, f"ops/{b}_autograd.{e}")
mv("ops/tensor_code.h", "autograd/tensor_code.h")
for f in ["constant", "once", "second_order"]:
    mv(f"derivatives/{f}.h", f"autograd/{f}.h")
    mv(f"ops/{f}.cpp", f"autograd/{f}.cpp")
for e in ["h", "cpp"]:
    mv(f"derivatives/chemical_potential.{e}", f"ops/chemical_potential_derivatives.{e}")
    mv(f"derivatives/gaps.{e}", f"math/pairs/gaps.{e}")
    mv(f"kernels/judge.{e}", f"math/pairs/judge.{e}")
    mv(f"kernels/cluster_pairs.{e}", f"math/pairs/cluster_pairs.{e}")
mv("derivatives/inverse_gap.h", "math/pairs/inverse_gap.h")
mv("derivatives/judge_cotangents.h", "math/pairs/judge_cotangents.h")
mv("ops/judge_cotangents.cpp", "math/pairs/judge_cotangents.cpp")
mv("derivatives/judge_rotations.h", "math/judge_rotations.h")
mv("ops/judge_rotations.cpp", "math/judge_rotations.cpp")
E = "kernels/eigh/"
for f in ["batch_eigh.h", "batch_eigh.cpp", "diagonal_eigh.h", "eigh_method.h", "eigh_method.cpp", "eigh_results.h", "lapack_eigh.h", "lapack_eigh.cpp"]:
    mv("kernels/" + f, E + f)
for f in ["implicit_ql.h", "jacobi.h", "sturm.h", "tridiagonal.h"]:
    mv("kernels/lanes/" + f, E + f)
for e in ["h", "cpp"]:
    mv(f"kernels/lanes/batch_eigh.{e}", f"{E}simd_eigh.{e}")
    mv(f"kernels/eigh_jvp.{e}", f"kernels/eigh_jvp/eigh_jvp.{e}")
    mv(f"kernels/lanes/batch_eigh_jvp.{e}", f"kernels/eigh_jvp/simd_eigh_jvp.{e}")
    mv(f"kernels/eigh_vjp.{e}", f"kernels/eigh_vjp/eigh_vjp.{e}")
    mv(f"kernels/eigh_vjp_by_products.{e}", f"kernels/eigh_vjp/eigh_vjp_by_products.{e}")
    mv(f"kernels/lanes/batch_eigh_vjp.{e}", f"kernels/eigh_vjp/simd_eigh_vjp.{e}")
    mv(f"kernels/lanes/gap_pass.{e}", f"kernels/eigh_vjp/gap_pass.{e}")
    mv(f"kernels/spectral_function.{e}", f"kernels/spectral_function/spectral_function.{e}")
    mv(f"kernels/lanes/batch_spectral_function.{e}", f"kernels/spectral_function/simd_spectral_function.{e}")
    mv(f"kernels/multiply.{e}", f"kernels/blas/multiply.{e}")
for f in ["eigh_vjp_inputs.h", "gap_division.h", "block_pairs.h", "used_columns.h", "cotangent_magnitude.h", "parallel_parts.h"]:
    mv("kernels/" + f, "kernels/eigh_vjp/" + f)
mv("kernels/lanes/tile_pairs.h", "kernels/eigh_vjp/tile_pairs.h")
mv("kernels/sequential_blas.h", "kernels/blas/sequential_blas.h")
for f in ["batch_layout.h", "for_each_register.h", "capability.cpp", "choose_capability.h"]:
    mv("kernels/" + f, "kernels/simd/" + f)
mv("kernels/lanes/lanes.h", "kernels/simd/vector.h")

def git(*a):
    subprocess.run(["git", *a], check=True)

files = subprocess.run(["git", "ls-files", "csrc"], capture_output=True, text=True).stdout.split()
for f in files:
    rel = f[5:]
    if rel not in M:
        if rel.startswith("derivatives/"):
            M[rel] = "math/" + rel[len("derivatives/"):]
        elif rel.startswith("kernels/lanes/"):
            M[rel] = "kernels/simd/" + rel[len("kernels/lanes/"):]
present = {f[5:] for f in files}
for old, new in sorted(M.items()):
    if old in present:
        os.makedirs(os.path.dirname("csrc/" + new), exist_ok=True)
        git("mv", "csrc/" + old, "csrc/" + new)
    else:
        print("absent:", old)

DUP = {"kernels/lanes/batch_eigh": 0}
sources = [f for f in subprocess.run(["git", "ls-files", "csrc", "tests", "CMakeLists.txt", "docs", "CONTRIBUTING.md", "python", "benchmarks", "Makefile", "README.md"], capture_output=True, text=True).stdout.split() if os.path.isfile(f) and f.rsplit(".",1)[-1] in ("h","cpp","txt","md","py","in","Makefile") or f == "Makefile"]
pattern = re.compile("|".join(re.escape(k) for k in sorted(M, key=len, reverse=True)))
for f in sources:
    s = old = open(f).read()
    if f.endswith((".h", ".cpp")):
        s = re.sub(r'#include "([^"]+)"', lambda m: f'#include "{M.get(m[1], m[1])}"', s)
        head, body = s, None
        s = re.sub(r'(?<!["/\w])derivatives::', "math::", s)
        s = s.replace("namespace spectralgrad::derivatives", "namespace spectralgrad::math").replace("namespace derivatives", "namespace math")
        s = re.sub(r"\bkernels::lanes\b", "kernels::simd", s)
        s = re.sub(r"\blanes::", "simd::", s)
        # comments that name files
        s = re.sub(r"(?<![\"\w])((?:derivatives|kernels|autograd|ops)/[\w/]+\.(?:h|cpp))", lambda m: M.get(m[1], m[1]), s)
    elif f == "CMakeLists.txt":
        s = re.sub(r"csrc/([\w/.]+)", lambda m: "csrc/" + M.get(m[1], m[1]), s)
        s = s.replace("spectralgrad_lanes_", "spectralgrad_simd_").replace("SPECTRALGRAD_LANES", "SPECTRALGRAD_SIMD")
    else:
        s = re.sub(r"(csrc/)?((?:derivatives|kernels|autograd|ops)/[\w/]+\.(?:h|cpp))", lambda m: (m[1] or "") + M.get(m[2], m[2]), s)
        if f.startswith("tests") and f.endswith((".h",".cpp")):
            s = re.sub(r"\blanes::", "simd::", s)
    if s != old:
        open(f, "w").write(s)
# the list of sources, sorted
s = open("CMakeLists.txt").read()
a = s.index("  spectralgrad SHARED\n") + len("  spectralgrad SHARED\n"); b = s.index(")", a)
items = sorted(x.strip() for x in s[a:b].split("\n") if x.strip())
s = s[:a] + "\n".join("  " + x for x in items) + s[b:]
open("CMakeLists.txt", "w").write(s)
# includes in order
