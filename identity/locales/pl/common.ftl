colon = :
help = Pomoc
privacy = Prywatność
unknown = nieznany
duration-minutes = { $count ->
    [one] { $count } minutę
    [few] { $count } minuty
   *[other] { $count } minut
}
duration-hours = { $count ->
    [one] { $count } godzinę
    [few] { $count } godziny
   *[other] { $count } godzin
}
duration-days = { $count ->
    [one] { $count } dzień
   *[other] { $count } dni
}
