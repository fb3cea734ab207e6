#compdef lockc
# Completes command lines of lockc in zsh: source <(lockc completions zsh), after compinit

_lockc() {
    local line
    local -a lines values shown
    lines=("${(@f)$("${(Q)words[1]}" __complete -- \
        "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    case $lines[1] in
    words)
        for line in "${(@)lines[2,-1]}"; do
            values+=("${line%%$'\t'*}")
            shown+=("${line/$'\t'/  -- }")
        done
        if [[ "$lines[2]" == *$'\t'* ]]; then
            compadd -l -d shown -a values
        else
            compadd -a values
        fi
        ;;
    files) _files ;;
    command\ *)
        shift "${lines[1]#command }" words
        ((CURRENT -= ${lines[1]#command }))
        _normal
        ;;
    esac
}

if [[ $funcstack[1] == _lockc ]]; then
    _lockc "$@"
else
    compdef _lockc lockc
fi
