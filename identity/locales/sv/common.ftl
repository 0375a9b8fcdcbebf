colon = :
help = Hjälp
privacy = Integritet
unknown = okänd
duration-minutes = { $count ->
    [one] { $count } minut
   *[other] { $count } minuter
}
duration-hours = { $count ->
    [one] { $count } timme
   *[other] { $count } timmar
}
duration-days = { $count ->
    [one] { $count } dag
   *[other] { $count } dagar
}
