# Sourced by ./quickstart and ./run_tests: installs the Debian/Ubuntu packages named as arguments that are missing, or
# names them where this user may not.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
      printf 'error: these packages are needed and may not be installed here: %s\n' "${missing[*]}" >&2
      printf 'someone who may can run: apt-get install --no-install-recommends %s\n' "${missing[*]}" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  printf 'installing: %s\n' "${missing[*]}"
  "${sudo[@]}" apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    { printf 'error: apt-get could not install: %s\n' "${missing[*]}" >&2; return 1; }
}

# oneDNN's CMake package looks for OpenCL's headers.
build_packages=(g++ cmake ninja-build libdnnl-dev ocl-icd-opencl-dev libfmt-dev nlohmann-json3-dev libcli11-dev libssl-dev
                zlib1g-dev libminizip-dev)
test_packages=(doctest-dev)
# The sources are formatted by version 14, which not every release has; elsewhere that test is skipped.
case "$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")" in
  bookworm | jammy | noble) test_packages+=(clang-format-14) ;;
esac
