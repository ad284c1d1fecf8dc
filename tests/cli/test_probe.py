def test_it(kept, yard):
    for a in (["runs"],["show","killed"],["show","nan"],["resume","killed"],["show","killed"],["verify"],["doctor"]):
        o=yard(*a); print("$",*a, o.code); print(o.out, o.err)
