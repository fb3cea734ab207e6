# Completes command lines of lockc in bash: source <(lockc completions bash)

_lockc() {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} i rest word words=() starts=()
    # Bash also splits words at `:` and `=`; names and addresses hold both.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        rest=${line#"${line%%[![:blank:]]*}"}
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=$rest
        if ((i == 0)) || [[ $rest != "$line" ]]; then
            words+=("$word")
            starts+=("$i")
        else
            words[${#words[@]} - 1]+=$word
        fi
        line=${rest#"$word"}
    done
    local kind candidates=()
    {
        IFS= read -r kind
        while IFS= read -r word; do
            candidates+=("${word%%$'\t'*}")
        done
    } < <("$1" __complete --quoted="$2" -- "${words[@]:1}" 2>/dev/null)
    case $kind in
    words) COMPREPLY=("${candidates[@]}") ;;
    files) compopt -o default ;;
    command\ *) _lockc_command "${starts[${kind#command }]:-$COMP_CWORD}" "$2" ;;
    esac
}

# Completes a command that begins with the word $1, of which $2 is to be completed.
_lockc_command() {
    if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$1" # bash-completion since 2.12
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    else
        compopt -o default
        if (($1 == COMP_CWORD)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$2")
        fi
    fi
}

complete -F _lockc lockc
