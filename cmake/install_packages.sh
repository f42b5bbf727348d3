# Sourced by ./quickstart and ./run_tests: installs the Debian/Ubuntu packages named as arguments that are missing. Where this
# user may not, it names them, and goes on where CMake is there to say which of them are needed indeed.
install_packages() {
  local missing=() package
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) == *'install ok installed'* ]] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
      local verdict=error
      ! { command -v cmake && command -v ninja; } >/dev/null || verdict=note
      printf '%s: these packages are not installed, and this user may not install them: %s\n' $verdict "${missing[*]}" >&2
      printf 'someone who may can run: apt-get install --no-install-recommends %s\n' "${missing[*]}" >&2
      [ $verdict = note ]
      return
    fi
    sudo=(sudo)
  fi
  printf 'installing: %s\n' "${missing[*]}"
  "${sudo[@]}" apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    { printf 'error: apt-get could not install: %s\n' "${missing[*]}" >&2; return 1; }
}

build_packages=(g++ cmake ninja-build libfmt-dev nlohmann-json3-dev libcli11-dev libssl-dev
                zlib1g-dev libminizip-dev libstb-dev)
test_packages=(doctest-dev)
# The sources are formatted by version 14, which not every release has; elsewhere that test is skipped.
case "$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")" in
  bookworm | jammy | noble) test_packages+=(clang-format-14) ;;
esac
